"""Liger's fused loss in place of ours; without a GPU, Triton interprets its kernels."""

import json
from importlib.util import find_spec

import pytest
import torch

from command import flythinker
from flythinker.errors import FlyThinkerError
from flythinker.training.run import build_trainer

LIGER = "training.use_liger_kernel=true"


@pytest.fixture
def interpreted(monkeypatch):
    """As if Liger were installed and its kernels could run."""
    monkeypatch.setattr("flythinker.training.liger.find_spec", lambda name: True)
    monkeypatch.setenv("TRITON_INTERPRET", "1")


@pytest.mark.skipif(find_spec("liger_kernel") is None, reason="liger-kernel is not installed")
@pytest.mark.parametrize("lora", [(), ("lora.r=4",)], ids=["full", "lora"])
def test_losses_and_gradients_are_those_of_ours(lora, config_file, tmp_path):
    # in processes of their own: how Triton runs is settled when it is imported
    interpret = {} if torch.cuda.is_available() else {"TRITON_INTERPRET": "1"}
    settings = ["training.max_steps=4", "training.draft_loss_weight=0.5", *lora]
    settings += ["training.eval_strategy=steps", "training.eval_steps=2"]

    def history(name: str, *others: str) -> list[dict[str, float]]:
        sets = [f"training.output_dir={tmp_path / name}", *settings, *others]
        options = [option for each in sets for option in ("--set", each)]
        done = flythinker("train", config_file, *options, environment=interpret)
        assert done.returncode == 0, done.stderr
        training = json.loads((tmp_path / name / "model" / "training.json").read_text())
        kept = ("loss", "grad_norm", "eval_loss")
        return [{k: line[k] for k in kept if k in line} for line in training["log_history"]]

    ours, liger = history("ours"), history("liger", LIGER)
    assert len(ours) == len(liger) >= 6
    for expected, found in zip(ours, liger, strict=True):
        assert found == pytest.approx(expected, rel=1e-3)


def test_it_is_liger_that_takes_the_loss(configure, interpreted, monkeypatch):
    shapes = []

    def taken(rows, weight, targets):
        shapes.append((rows.shape, weight.shape, targets.shape))
        return rows.sum()

    monkeypatch.setattr("flythinker.training.liger.liger_cross_entropy", taken)
    trainer = build_trainer(configure(LIGER, "lora.r=4"))
    row = trainer.train_dataset[0]
    trainer.compute_loss(trainer.model.train(), trainer.data_collator([row]))
    learned = row["length"] - row["prompt_length"]
    width, vocabulary = 32, trainer.model.config.vocab_size
    assert shapes == [((learned, width), (vocabulary, width), (learned,))]


def test_a_generator_whose_loss_needs_logits_is_named(make_trainer, interpreted, monkeypatch):
    monkeypatch.setattr("flythinker.training.liger.can_be_chunked", lambda generator: False)
    with pytest.raises(FlyThinkerError, match="the loss of llama needs its logits"):
        make_trainer(LIGER)


def test_what_is_missing_is_named(make_trainer, monkeypatch):
    monkeypatch.setattr("flythinker.training.liger.find_spec", lambda name: None)
    with pytest.raises(FlyThinkerError, match="use_liger_kernel: run `pip install liger-kernel`"):
        make_trainer(LIGER)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_is_refused(make_trainer, interpreted, monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET")
    with pytest.raises(FlyThinkerError, match="Liger's kernels need a GPU"):
        make_trainer(LIGER)
