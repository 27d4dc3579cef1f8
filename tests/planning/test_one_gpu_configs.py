"""The configs for one GPU: each fits, and trains a tiny model of the same family."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma3TextConfig,
    LlamaConfig,
    PreTrainedConfig,
    Qwen3Config,
    set_seed,
)

from flythinker.model_folder import load_model_folder
from flythinker.planning.plan import make_plan
from flythinker.training.config import load_config
from flythinker.training.run import train

FOLDER = Path(__file__).parents[2] / "configs" / "one-gpu"
CONFIGS = sorted(file.name for file in FOLDER.glob("*.yaml"))
GB = {"24gb": 24_000_000_000, "80gb": 80_000_000_000}


def sizes(kind: type, *numbers: int, **others: object) -> PreTrainedConfig:
    width, inner, layers, heads, kv_heads, head_dim, vocabulary = numbers
    return kind(
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        vocab_size=vocabulary,
        tie_word_embeddings=True,
        **others,
    )


# as published: Generator and Reasoner of each pair
PUBLISHED = {
    "qwen3-4b": (
        sizes(Qwen3Config, 2560, 9728, 36, 32, 8, 128, 151_936),
        sizes(Qwen3Config, 1024, 3072, 28, 16, 8, 128, 151_936),
    ),
    "llama-3.2-3b": (
        sizes(LlamaConfig, 3072, 8192, 28, 24, 8, 128, 128_256),
        sizes(LlamaConfig, 2048, 8192, 16, 32, 8, 64, 128_256),
    ),
    "gemma-3-4b": (
        sizes(Gemma3TextConfig, 2560, 10_240, 34, 8, 4, 256, 262_208, sliding_window=1024),
        sizes(Gemma3TextConfig, 640, 2048, 18, 4, 1, 256, 262_144, sliding_window=512),
    ),
}
MILLIONS = {"qwen3-4b": (4022, 596), "llama-3.2-3b": (3213, 1236), "gemma-3-4b": (3880, 268)}
TINY = {"qwen3-4b": Qwen3Config, "llama-3.2-3b": LlamaConfig, "gemma-3-4b": Gemma3TextConfig}


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_it_fits(name, tmp_path):
    pair, _, memory = name.removesuffix(".yaml").rpartition("-")
    overrides = []
    for part, config in zip(("generator", "reasoner"), PUBLISHED[pair], strict=True):
        config.save_pretrained(tmp_path / part)
        overrides.append(f"model.{part}={tmp_path / part}")
    plan = make_plan(load_config(FOLDER / name, overrides), GB[memory])
    print(f"{name}: {plan.step.peak / 1e9:.1f} GB")
    assert plan.fits
    assert plan.row_tokens == 2550
    for part, millions in zip(("generator", "reasoner"), MILLIONS[pair], strict=True):
        whole = plan.step.parameters[part] - plan.step.trained[part]
        assert whole / 1e6 == pytest.approx(millions, abs=1)


@pytest.mark.parametrize("name", CONFIGS)
def test_it_trains_a_tiny_model_of_the_family(name, backbone, data, tmp_path):
    pair, _, memory = name.removesuffix(".yaml").rpartition("-")
    if memory == "24gb" and find_spec("bitsandbytes") is None:
        pytest.skip("bitsandbytes is not installed")
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    overrides = [f"data.train={data / 'train.jsonl'}", f"data.validation={data / 'val.jsonl'}"]
    for part, width in (("generator", 64), ("reasoner", 32)):
        set_seed(0)
        config = sizes(TINY[pair], width, 2 * width, 2, 4, 2, 16, len(tokenizer))
        config.eos_token_id = tokenizer.eos_token_id
        AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / part)
        tokenizer.save_pretrained(tmp_path / part)
        overrides.append(f"model.{part}={tmp_path / part}")
    overrides += [f"training.output_dir={tmp_path / 'run'}", "training.max_steps=2"]
    overrides += ["training.use_cpu=true", "data.max_train=16", "data.max_validation=2"]
    overrides += ["prompt.profile_tokens=60", "prompt.query_tokens=40"]
    folder = train(load_config(FOLDER / name, [*overrides, "prompt.response_tokens=60"]))
    personal = load_model_folder(str(folder))
    assert personal.training["steps"] == 2
    assert getattr(personal.model, "quantization_method", None) is None
