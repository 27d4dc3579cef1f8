from pathlib import Path

import pytest

from flythinker.errors import FlyThinkerError
from flythinker.hardware import hardware
from flythinker.training.config import LoraSection, load_config

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


def refusal(*arguments) -> str:
    """The one line that `load_config` refuses its arguments with."""
    with pytest.raises(FlyThinkerError) as caught:
        load_config(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_shipped_configs_load(path):
    config = load_config(path)
    assert config.training.bf16_asked == "auto"
    assert config.training.bf16 is hardware().native_bf16
    assert config.data.train.endswith("/train.jsonl")


def test_the_longlamp_configs_are_the_papers():
    folder = CONFIGS[0].parent
    small = load_config(folder / "longlamp-qwen2.5-3b.yaml")
    large = load_config(folder / "longlamp-qwen2.5-7b.yaml")
    assert (small.model.generator, small.model.reasoner) == ("Qwen/Qwen2.5-3B-Instruct",) * 2
    assert large.model.generator == "Qwen/Qwen2.5-7B-Instruct"
    assert large.model.reasoner == "Qwen/Qwen2.5-1.5B-Instruct"
    for config in (small, large):
        assert (config.model.fusion_weight, config.model.projection) == (0.5, "pad")
        assert config.model.reasoner_layers is None
        training = config.training
        assert (training.learning_rate, training.weight_decay) == (5e-6, 0.025)
        assert training.get_warmup_steps(1000) == 10
        assert (training.num_train_epochs, training.seed) == (5, 42)
        assert training.per_device_train_batch_size * training.gradient_accumulation_steps == 8
        assert training.gradient_checkpointing
        prompt = config.prompt
        assert (prompt.profile_tokens, prompt.query_tokens) == (1250, 300)
        assert prompt.response_tokens == 1000


def test_our_defaults_and_a_users_own_value(configure):
    config = configure("training.logging_steps=7")
    assert config.training.train_sampling_strategy == "group_by_length"
    assert config.training.report_to == ["tensorboard"]
    assert config.training.logging_steps == 7
    assert configure("training.report_to=[]").training.report_to == []


def test_an_unknown_section_names_the_nearest(config_file):
    config_file.write_text(config_file.read_text().replace("training:", "trainning:"))
    assert "unknown section 'trainning'; did you mean 'training'?" in refusal(config_file)


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("training.learning_rte", "learning_rate"),
        ("training.reasoner_lr", "reasoner_learning_rate"),
        ("training.warmup_ratio", "warmup_steps"),  # transformers 5 has no other
        ("model.fusion_wieght", "fusion_weight"),
        ("data.validaton", "validation"),
        ("prompt.profile_token", "profile_tokens"),
        ("lora.rank", "r"),
    ],
)
def test_an_unknown_key_names_the_nearest(config_file, key, nearest):
    section, name = key.split(".")
    line = refusal(config_file, [f"{key}=1"])
    assert line.startswith(f"{config_file}: {section}: unknown key '{name}'")
    assert nearest in line


def test_a_missing_key_or_section_is_named(config_file):
    text = config_file.read_text()
    config_file.write_text(text.replace("  train: ", "  max_train: 1 #"))
    assert refusal(config_file) == f"{config_file}: data: key 'train' is missing"
    config_file.write_text(text)
    assert refusal(config_file, ["data=null"]) == f"{config_file}: section 'data' is missing"


@pytest.mark.parametrize(
    ("override", "key", "reason"),
    [
        ("training.learning_rate=fast", "learning_rate", "valid number"),
        ("training.max_steps=1.5", "max_steps", "valid integer"),
        ("training.bf16=maybe", "bf16", "valid boolean"),
        ("model.injection=everywhere", "injection", "'global', 'input' or 'output'"),
        ("model.reasoner_layers=two", "reasoner_layers", "valid integer"),
        ("prompt.retrieval=bm52", "retrieval", "'bm25'"),
        ("data.max_train=[1]", "max_train", "valid integer"),
    ],
)
def test_a_wrong_type_names_the_key(config_file, override, key, reason):
    line = refusal(config_file, [override])
    section = override.partition(".")[0]
    assert line.startswith(f"{config_file}: {section}: key '{key}': ")
    assert reason in line
    assert ", got " in line


def test_what_transformers_refuses_is_one_line(config_file):
    line = refusal(
        config_file, ["training.early_stopping_patience=1", "training.eval_strategy=steps"]
    )
    assert line.startswith(f"{config_file}: training: ")
    assert "strategy" in line


def test_numbers_may_be_strings(config_file):
    # YAML 1.1 reads 5e-6, which has no dot, as a string
    assert load_config(config_file, ["training.learning_rate=5e-6"]).training.learning_rate == 5e-6


def test_overrides(configure):
    config = configure("model.reasoner=null", "model.fusion_weight=0", "lora.r=4")
    assert config.model.reasoner is None
    assert config.lora == LoraSection(r=4)
    assert configure("lora.r=4", "lora=null").lora is None
    assert configure("prompt=null").prompt.profile_tokens == 1250


@pytest.mark.parametrize(
    "override",
    ["max_steps=3", "training.max_steps", "lora", "lora=8", "trainer.max_steps=3", "model.dtype=["],
)
def test_a_bad_override_is_quoted(config_file, override):
    assert refusal(config_file, [override]).startswith(f"--set {override}: ")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"model: [", "not valid YAML"),
        (b"- model", "expected sections"),
        (b"", "expected sections"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"model: smollm2-135m\ndata: {train: a}\ntraining: {}", "model: expected keys and values"),
    ],
)
@pytest.mark.parametrize("overrides", [[], ["model.dtype=bfloat16"]])
def test_a_malformed_file(tmp_path, content, reason, overrides):
    file = tmp_path / "c.yaml"
    file.write_bytes(content)
    line = refusal(file, overrides)
    assert line.startswith(f"{file}: ")
    assert reason in line


def test_a_missing_file(tmp_path):
    assert refusal(tmp_path / "none.yaml") == f"{tmp_path / 'none.yaml'}: no such config file"
    assert refusal(tmp_path).startswith(f"{tmp_path}: cannot be read")


def test_a_reasoner_of_its_own_prompt_cannot_think_about_the_generators(configure):
    with pytest.raises(FlyThinkerError, match=r"prompt\.reasoner_k.*model\.injection to global"):
        configure("prompt.reasoner_k=4", "model.injection=input")


def test_a_config_may_extend_another(config_file, tmp_path):
    folder = tmp_path / "configs"
    folder.mkdir()
    child = folder / "child.yaml"
    child.write_text("extends: ../config.yaml\nmodel:\n  fusion_weight: 0.1\nlora:\n  r: 4\n")
    base, config = load_config(config_file), load_config(child)
    assert config.model.fusion_weight == 0.1
    assert config.model.generator == base.model.generator
    assert config.prompt == base.prompt
    assert config.lora.r == 4
    grandchild = folder / "grandchild.yaml"
    grandchild.write_text("extends: child.yaml\nlora:\n")
    assert load_config(grandchild).lora is None
    child.write_text("extends: nowhere.yaml\n")
    with pytest.raises(FlyThinkerError, match=r"nowhere\.yaml: no such config file"):
        load_config(child)
