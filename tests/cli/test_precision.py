"""Weights and computing in the type that the processor multiplies, by the real command line."""

import json
import platform

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM

from command import flythinker
from flythinker.model_folder import load_model_folder, load_tokenizer
from flythinker.training.config import load_config
from flythinker.training.run import train

# a processor without AVX-512 and bf16
OLDER = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
pytestmark = pytest.mark.skipif(
    torch.accelerator.is_available() or platform.machine() not in ("x86_64", "AMD64"),
    reason="the variables make an x86 CPU behave as an older one",
)


@pytest.fixture(scope="module")
def bf16_folder(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bf16") / "model"
    AutoModelForCausalLM.from_pretrained(trained, dtype=torch.bfloat16).save_pretrained(folder)
    load_tokenizer(str(trained)).save_pretrained(folder)
    return folder


def write(folder, data, *options):
    """Text and lines on stderr of a greedy `flythinker write` on the older processor."""
    asked = ["--user", "someone", "--data", data / "val.jsonl", "--query", "Write on."]
    done = flythinker(
        *["write", "--model", folder, *asked, "--max-new-tokens", 12, "--temperature", 0],
        *options,
        environment=OLDER,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, [line for line in done.stderr.splitlines() if "float32" in line]


def test_a_bf16_folder_is_loaded_as_float32_and_what_is_asked_is_obeyed(bf16_folder, data):
    chosen, lines = write(bf16_folder, data)
    assert len(lines) == 1
    assert "its bfloat16 weights are loaded as float32" in lines[0]
    asked, lines = write(bf16_folder, data, "--dtype", "float32")
    assert asked == chosen
    assert lines == []
    text, lines = write(bf16_folder, data, "--dtype", "bfloat16")
    assert text.strip()
    assert len(lines) == 1
    assert "bfloat16 as asked, which is slow here" in lines[0]


def test_a_folder_keeps_its_type_where_it_is_native_or_asked_for(bf16_folder, capsys):
    saved = load_model_folder(str(bf16_folder), dtype=torch.bfloat16).model
    assert {p.dtype for p in saved.parameters()} == {torch.bfloat16}
    widened = load_model_folder(str(bf16_folder), dtype=torch.float32).model
    assert {p.dtype for p in widened.parameters()} == {torch.float32}


def test_a_run_goes_on_where_auto_means_something_else(config_file, tmp_path):
    settings = yaml.safe_load(config_file.read_text())
    settings["training"] |= {"bf16": "auto", "num_train_epochs": 1}
    del settings["training"]["use_cpu"]
    config_file.write_text(yaml.safe_dump(settings))
    done = flythinker("train", config_file, environment=OLDER)
    assert done.returncode == 0, done.stderr
    folder = train(load_config(config_file))  # not refused
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["training"]["bf16"] == (
        "auto"
    )
    assert json.loads((folder / "training.json").read_text())["settings"]["bf16"] is False


def test_bf16_set_by_hand_is_obeyed_with_a_warning(config_file, tmp_path):
    settings = ["training.bf16=true", "training.max_steps=1", "training.logging_steps=1"]
    options = [part for setting in settings for part in ("--set", setting)]
    done = flythinker("train", config_file, *options, environment=OLDER)
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stderr.splitlines() if line.startswith("training.bf16: ")]
    assert len(warnings) == 1
    training = json.loads((tmp_path / "run" / "model" / "training.json").read_text())
    assert training["settings"]["bf16"] is True
