"""A learned λ: it moves, a killed run keeps it, and the finished model is an ordinary one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, TrainerCallback

from flythinker.errors import FlyThinkerError
from flythinker.methods.flythinker import FlyThinker
from flythinker.methods.learned import Learned, LearnedTrainer
from flythinker.training.run import train

# "pad" thoughts of an untrained Reasoner disturb: their weight has a gradient from the first step
SETTINGS = ("model.projection=pad", "training.projection_learning_rate=0.02")


class Killed(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 3:
            raise KeyboardInterrupt


class KilledTrainer(LearnedTrainer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.add_callback(Killed())


def weights(method):
    return load_file(method.folder / "train" / "model" / "model.safetensors")


def test_what_is_learned_is_in_the_config_of_an_ordinary_model(make_method, held_out):
    learned = make_method(Learned, *SETTINGS, folder="learned")
    fixed = make_method(FlyThinker, *SETTINGS, folder="fixed")
    for method in (learned, fixed):
        method.train()
    weight = learned.personal.model.config.fusion_weight
    assert 0 < abs(weight - 0.5) < 0.5
    history = learned.personal.training["log_history"]
    assert [entry["fusion_weight"] for entry in history if "loss" in entry][-1] == weight
    assert weights(learned).keys() == weights(fixed).keys()
    loaded = AutoModelForCausalLM.from_pretrained(learned.folder / "train" / "model")
    assert loaded.config.fusion_weight == weight
    losses = [learned.losses(learned.prompts(held_out), size) for size in (1, 2)]
    for one, two in zip(*losses, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-4)


def test_a_killed_run_keeps_what_it_has_learned(make_method):
    checkpoints = ("training.save_strategy=steps", "training.save_steps=2")
    whole = make_method(Learned, *SETTINGS, *checkpoints, folder="whole")
    whole.train()
    killed = make_method(Learned, *SETTINGS, *checkpoints, folder="killed")
    recipe = replace(killed.recipe(), trainer=KilledTrainer)
    with pytest.raises(KeyboardInterrupt):
        train(killed.training_config(), recipe=recipe)
    killed.train()
    first, second = (method.personal.model.config.fusion_weight for method in (whole, killed))
    assert first == pytest.approx(second, abs=1e-7)
    ours, theirs = weights(killed), weights(whole)
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-6) for name in theirs)


def test_no_adapters(make_method):
    with pytest.raises(FlyThinkerError, match="leave out the section lora"):
        make_method(Learned, "lora.r=4").train()
