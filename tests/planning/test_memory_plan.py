"""`flythinker plan`: what a training takes, from configs alone, against what it really takes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from transformers import LlamaConfig, LlamaForCausalLM, set_seed

from command import fail, flythinker, succeed
from flythinker.planning.plan import fits, longest_row, make_plan
from flythinker.training.build import build_model
from flythinker.training.config import load_config
from flythinker.training.run import load_rows, run_tokenizer

ROW, LEARNED = 1024, 512
MEASURED = Path(__file__).with_name("measured.py")


@pytest.fixture(scope="module")
def larger(tmp_path_factory, backbone) -> Path:
    """A Llama of 45 million numbers, whose tensors are most of what a process holds."""
    folder = tmp_path_factory.mktemp("larger")
    for file in backbone.glob("tokenizer*"):
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "chat_template.jinja").write_bytes((backbone / "chat_template.jinja").read_bytes())
    set_seed(0)
    config = LlamaConfig(
        vocab_size=8192,
        hidden_size=640,
        intermediate_size=1728,
        num_hidden_layers=8,
        num_attention_heads=10,
        num_key_value_heads=10,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def large_config(larger, config_file, tmp_path):
    """`large_config("section.key=value", …)`: the file of a run of the larger model."""

    def write(**sections: dict) -> Path:
        raw = yaml.safe_load(config_file.read_text())
        raw["model"] |= {"generator": str(larger), "reasoner": str(larger), "reasoner_layers": 4}
        raw["training"] |= {"per_device_train_batch_size": 1}
        for name, values in sections.items():
            raw[name] = raw.get(name, {}) | values
        file = tmp_path / "large.yaml"
        file.write_text(yaml.safe_dump(raw))
        return file

    return write


WAYS = {
    "eager": {"model": {"attn_implementation": "eager"}},
    "sdpa": {},
    "bf16": {"training": {"bf16": True}},
    "checkpointing": {"training": {"gradient_checkpointing": True}},
    "frozen generator": {"training": {"freeze_generator": True}},
    "lora": {"lora": {"r": 8}},
    "nf4": {"model": {"quantization": "nf4", "dtype": "bfloat16"}, "lora": {"r": 8}},
    "two rows": {"training": {"per_device_train_batch_size": 2}},
}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_the_peak_is_what_a_real_step_takes(way, large_config):
    file = large_config(**WAYS[way])
    config = load_config(file, [f"prompt.response_tokens={LEARNED}"])
    planned = make_plan(config, row_tokens=ROW).step.peak
    done = subprocess.run(
        [sys.executable, str(MEASURED), str(file), str(ROW), str(LEARNED)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    measured = int(done.stdout.split()[-1])
    print(f"{way}: planned {planned / 1e6:.0f} MB, measured {measured / 1e6:.0f} MB")
    assert planned == pytest.approx(measured, rel=0.15)


@pytest.mark.parametrize("lora", [[], ["lora.r=4"]], ids=["full", "lora"])
def test_parameters_are_those_of_the_model(lora, configure):
    config = configure(*lora)
    step = make_plan(config).step
    model = build_model(config.model, config.lora)
    counted = {True: 0, False: 0}
    for parameter in model.parameters():
        counted[parameter.requires_grad] += parameter.numel()
    assert sum(step.parameters.values()) == sum(counted.values())
    assert sum(step.trained.values()) == counted[True]
    assert step.weights == 4 * sum(counted.values())
    assert step.gradients == 4 * counted[True]
    assert step.optimizer == 8 * counted[True]
    assert max(step.weights, step.activations) < step.peak


def test_flops_are_those_of_a_real_step(configure):
    from flythinker.bench.train import Stepper

    eager = "model.attn_implementation=eager"
    stepper = Stepper(configure(eager))
    row = max(stepper.trainer.train_dataset, key=lambda row: row["length"])
    learned = row["length"] - row["prompt_length"]
    config = configure(
        eager, f"prompt.response_tokens={learned}", "training.per_device_train_batch_size=1"
    )
    assert make_plan(config, row_tokens=row["length"]).step.flops == pytest.approx(
        stepper.flops(row), rel=0.02
    )


def test_no_row_of_the_data_is_longer_than_planned(configure):
    config = configure("prompt.profile_tokens=30", "prompt.query_tokens=12", "prompt.k=1")
    rows, _ = load_rows(config, run_tokenizer(config))
    assert max(row["length"] for row in rows) <= longest_row(config) < 150


def test_accumulation_checkpointing_and_batches_cost_what_they_should(configure):
    def step(*overrides):
        return make_plan(configure(*overrides), row_tokens=200).step

    one = step("training.per_device_train_batch_size=1")
    two = step("training.per_device_train_batch_size=2")
    assert two.activations == pytest.approx(2 * one.activations, rel=0.05)
    accumulated = step(
        "training.per_device_train_batch_size=1", "training.gradient_accumulation_steps=2"
    )
    assert accumulated.flops == 2 * one.flops
    assert accumulated.peak > one.peak
    again = step("training.per_device_train_batch_size=1", "training.gradient_checkpointing=true")
    assert again.activations < 0.6 * one.activations
    assert again.flops > one.flops
    assert again.weights == one.weights


@pytest.mark.parametrize(
    ("optimizer", "bytes_a_number"),
    [("adamw_torch", 8), ("adamw_8bit", 2), ("lion_32bit", 4), ("sgd", 0), ("paged_adamw_8bit", 0)],
)
def test_optimizers(optimizer, bytes_a_number, large_config):
    config = load_config(large_config(training={"optim": optimizer}))
    step = make_plan(config, row_tokens=8).step
    assert step.optimizer == pytest.approx(bytes_a_number * sum(step.trained.values()), rel=0.03)


def test_it_says_what_to_change_until_it_fits(large_config):
    config = load_config(large_config(training={"per_device_train_batch_size": 4}))
    need = make_plan(config, row_tokens=512).step.peak
    plan = make_plan(config, memory=need // 3, row_tokens=512)
    assert plan.fits is False
    assert plan.changes[0].settings == (
        "training.per_device_train_batch_size=1",
        "training.gradient_accumulation_steps=4",
    )
    assert [fits(change.peak, need // 3) for change in plan.changes[:-1]] == [False] * (
        len(plan.changes) - 1
    )
    assert fits(plan.changes[-1].peak, need // 3)
    settings = [setting for change in plan.changes for setting in change.settings]
    changed = load_config(large_config(training={"per_device_train_batch_size": 4}), settings)
    assert make_plan(changed, memory=need // 3, row_tokens=512).fits


def test_the_command(config_file, backbone):
    printed = succeed("plan", config_file, "--gpu", "1GB", "--flops", "2G")
    for word in ("generator", "activations", "at most at once", "fits into 1.0 GB", "all steps"):
        assert word in printed
    found = json.loads(succeed("plan", config_file, "--flops", "2G", "--json"))["plan"]
    assert found["fits"] is None
    assert found["steps"] == 30
    assert found["step_seconds"] == pytest.approx(found["step"]["flops"] / 2e9)

    done = flythinker("plan", config_file, "--gpu", "100KB")
    assert done.returncode == 1
    assert "does not fit into 100.0 kB" in done.stdout
    assert "--set lora.r=16" in done.stdout
    assert "that is not enough" in done.stdout


def test_wrong_use_is_one_line(config_file):
    assert "24GB" in fail("plan", config_file, "--gpu", "much", code=2)
    nowhere = fail("plan", config_file, "--set", "model.generator=nobody/nothing")
    assert "model.generator: the config of nobody/nothing cannot be read" in nowhere
    own = fail("plan", config_file, "--set", "prompt.reasoner_k=8")
    assert "prompt.reasoner_k" in own
