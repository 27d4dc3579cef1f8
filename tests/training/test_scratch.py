"""Models from scratch: sizes and a vocabulary in the config, the same training as ever."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from flythinker.backbones.scratch import trained_tokenizer
from flythinker.data.batch import IGNORED
from flythinker.errors import FlyThinkerError
from flythinker.model_folder import load_model_folder, read_training
from flythinker.training.config import load_config
from flythinker.training.run import Recipe, build_trainer, train
from flythinker.training.trainer import FlyThinkerTrainer

STEPS = 24


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for every test."""
    monkeypatch.setenv("FLYTHINKER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def scratch_file(config_file: Path) -> Path:
    sections = yaml.safe_load(config_file.read_text())
    sections["model"] = {
        "generator": {"layers": 2, "width": 32, "heads": 2},
        "reasoner": {"layers": 1, "width": 32, "heads": 2},
        "vocabulary": 400,
    }
    sections["data"]["loss_on"] = "all"
    sections["training"] |= {
        "max_steps": STEPS,
        "save_strategy": "steps",
        "save_steps": 8,
        "draft_loss_weight": 0.5,
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr_rate": 0.05},
    }
    config_file.write_text(yaml.safe_dump(sections))
    return config_file


def losses(model: Path) -> list[float]:
    return [entry["loss"] for entry in read_training(model)["log_history"] if "loss" in entry]


def test_a_run_from_scratch_learns_and_is_an_ordinary_model(scratch_file):
    model = train(load_config(scratch_file))
    curve = losses(model)
    assert sum(curve[-4:]) / 4 < sum(curve[:4]) / 4 - 0.5
    loaded, tokenizer = (
        AutoModelForCausalLM.from_pretrained(model),
        AutoTokenizer.from_pretrained(model),
    )
    assert len(tokenizer) == loaded.config.vocab_size == 400
    assert (
        loaded.generator.config.num_hidden_layers,
        loaded.reasoner.config.num_hidden_layers,
    ) == (2, 1)
    ids = tokenizer("The people", return_tensors="pt").input_ids
    assert loaded.generate(ids, max_new_tokens=5, do_sample=False).shape[1] > ids.shape[1]
    assert "2 layers, 32 wide, from random weights" in (model / "README.md").read_text()


class Killed(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 13:
            raise KeyboardInterrupt


class KilledTrainer(FlyThinkerTrainer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.add_callback(Killed())


def test_a_killed_run_from_scratch_ends_as_if_it_had_not_been(scratch_file, tmp_path):
    whole = train(load_config(scratch_file, [f"training.output_dir={tmp_path / 'whole'}"]))
    with pytest.raises(KeyboardInterrupt):
        train(load_config(scratch_file), recipe=Recipe(trainer=KilledTrainer))
    resumed = train(load_config(scratch_file))
    assert losses(resumed) == losses(whole)
    ours, theirs = (load_file(model / "model.safetensors") for model in (resumed, whole))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_command_trains_it(scratch_file, cache):
    command = [sys.executable, "-m", "flythinker", "train", str(scratch_file)]
    environment = os.environ | {"FLYTHINKER_CACHE": str(cache)}
    done = subprocess.run(
        [*command, "--set", "training.max_steps=2", "--set", "model.generator.layers=1"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    output = Path(load_config(scratch_file).training.output_dir)
    assert load_model_folder(str(output / "model")).model.generator.config.num_hidden_layers == 1


def test_the_generator_begins_the_same_with_and_without_a_reasoner(scratch_file):
    fly = build_trainer(load_config(scratch_file)).model.generator
    alone = ["model.reasoner=null", "model.fusion_weight=0"]
    sft = build_trainer(load_config(scratch_file, alone)).model.generator
    for ours, theirs in zip(fly.parameters(), sft.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_same_file_gives_the_same_tokenizer(data, tmp_path, monkeypatch):
    first = trained_tokenizer(data / "train.jsonl", 400)
    files = {file.name: file.read_bytes() for file in first.iterdir()}
    assert trained_tokenizer(data / "train.jsonl", 400) == first
    monkeypatch.setenv("FLYTHINKER_CACHE", str(tmp_path / "another"))
    again = trained_tokenizer(data / "train.jsonl", 400)
    assert again != first
    assert {file.name: file.read_bytes() for file in again.iterdir()} == files
    assert trained_tokenizer(data / "train.jsonl", 401).name != again.name
    assert trained_tokenizer(data / "val.jsonl", 400).name != again.name
    tokenizer = AutoTokenizer.from_pretrained(again)
    text = 'Über "Gänse"\n\n<eos> says nothing'  # bytes: no text is beyond it
    ids = tokenizer(text, split_special_tokens=True).input_ids
    assert tokenizer.decode(ids) == text
    assert tokenizer.eos_token_id not in ids


def test_the_whole_row_is_learned_and_the_response_measured(scratch_file):
    trainer = build_trainer(load_config(scratch_file))
    for row in trainer.train_dataset:
        assert row["labels"] == row["input_ids"]
    for row in trainer.eval_dataset:
        labels = row["labels"]
        assert set(labels[: row["prompt_length"]]) == {IGNORED}
        assert IGNORED not in labels[row["prompt_length"] :]


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["model.vocabulary=null"], "needs a vocabulary"),
        (["model.vocabulary=100"], "model.vocabulary is 100; it must be 258 or more"),
        (["model.reasoner=smollm2-135m"], "both be names, or both be sizes"),
        (["model.reasoner_layers=1"], "set the layers of reasoner"),
        (["model.generator.heads=5"], "width 32 is not an even multiple of 5 heads"),
        (["model.generator.hieght=5"], "model.generator: unknown key 'hieght'"),
        (["model.generator={layers: 2, width: 32}"], "model.generator: key 'heads' is missing"),
        (["model.generator.layers=many"], "model.generator: key 'layers'"),
        (["model.generator.layers=0"], "layers is 0; it must be 1 or more"),
    ],
)
def test_what_does_not_go_together_is_one_line(scratch_file, overrides, reason):
    with pytest.raises(FlyThinkerError, match=reason) as error:
        build_trainer(load_config(scratch_file, overrides))
    assert "\n" not in str(error.value)
