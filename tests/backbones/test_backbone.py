"""The embedded SmolLM2-135M: real weights, without a network."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from flythinker import FlyThinkerForCausalLM
from flythinker.backbones.packaged import resolve_backbone
from flythinker.model.cache import CACHE_NAME

NAME = "smollm2-135m"
TEXT = (
    "The rain had stopped before dawn, and the streets of the old town were quiet. A woman opened "
    "the door of her bakery, looked at the sky, and carried the first baskets of bread outside. "
    "By seven o'clock there was a line of people waiting, as there was every morning."
)
ASK_THE_NETWORK_NOTHING = """
import os, sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        print("the network was asked:", arguments, file=sys.stderr)
        os._exit(1)  # an exception might be caught on the way

sys.addaudithook(refuse)
from flythinker import FlyThinkerForCausalLM
model = FlyThinkerForCausalLM.from_generator_reasoner_pretrained(
    "smollm2-135m", "smollm2-135m", projection="linear", reasoner_layers=1
)
print(len(model.generator.model.layers), len(model.reasoner.layers))
"""


@pytest.fixture(scope="module")
def generator() -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(resolve_backbone(NAME))


@pytest.fixture(scope="module")
def model() -> FlyThinkerForCausalLM:
    return FlyThinkerForCausalLM.from_generator_reasoner_pretrained(NAME, NAME, reasoner_layers=2)


@pytest.fixture(scope="module")
def ids() -> Tensor:
    tokenizer = AutoTokenizer.from_pretrained(resolve_backbone(NAME))
    return tokenizer(TEXT, return_tensors="pt").input_ids


@torch.no_grad()
def test_at_weight_zero_it_is_smollm_and_reads_english(model, generator, ids):
    output = model(ids, labels=ids, fusion_weight=0)
    assert torch.equal(output.logits, generator(ids).logits)
    assert output.loss < 4.5


@torch.no_grad()
def test_its_thoughts_are_the_same_in_chunks(model, ids):
    full = model(ids)
    start = model(ids[:, :20], use_cache=True)
    rest = model(ids[:, 20:], cache=start[CACHE_NAME])
    assert (full.logits - model(ids, fusion_weight=0).logits).abs().max() > 1
    # logits of a pretrained model are some 20 times those of the tiny ones
    torch.testing.assert_close(rest.logits, full.logits[:, 20:], atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(rest.thoughts, full.thoughts[:, 20:], atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("name", ["Qwen/Qwen2.5-3B-Instruct", "runs/sft", "smollm2-135M"])
def test_other_names_are_left_as_they_are(name):
    assert resolve_backbone(name) == name


@pytest.mark.parametrize("offline", ["0", pytest.param("1", marks=pytest.mark.slow)])
def test_loading_asks_the_network_nothing(offline, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", offline)
    done = subprocess.run(
        [sys.executable, "-c", ASK_THE_NETWORK_NOTHING], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["30", "1"]


@pytest.mark.slow
def test_a_damaged_folder_is_converted_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("FLYTHINKER_CACHE", str(tmp_path))
    resolve_backbone.cache_clear()  # a process checks the sum once
    try:
        weights = Path(resolve_backbone(NAME), "model.safetensors")
        assert weights.parent.parent == tmp_path
        sound = weights.read_bytes()
        weights.write_bytes(sound[:-4] + b"oops")
        resolve_backbone.cache_clear()

        assert resolve_backbone(NAME) == str(weights.parent)
        assert weights.read_bytes() == sound
        assert [path.name for path in tmp_path.iterdir()] == [NAME]  # no partial folder left
    finally:
        resolve_backbone.cache_clear()
