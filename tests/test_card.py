import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from command import fail
from flythinker.card import set_license, write_card
from flythinker.data.prompt import PromptConfig
from flythinker.errors import FlyThinkerError
from flythinker.model import FlyThinkerConfig
from flythinker.training.run import train
from hub_server import Hub, running_hub

EVALUATED = ("training.max_steps=2", "training.eval_strategy=steps", "training.eval_steps=2")


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as running:
        yield running


def run(hub: Hub, tmp_path: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Python in a process of its own, for which `hub` is the Hub."""
    here = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_mine", "HF_HUB_DISABLE_XET": "1"}
    here |= {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *command],
        env=os.environ | here,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_training_fills_in_the_card(configure):
    folder = train(configure(*EVALUATED, "lora.r=4"))
    card = ModelCard.load(folder / "README.md")
    assert card.data.library_name == "transformers"
    assert "flythinker" in card.data.tags
    assert card.data.base_model is None  # a folder of this machine means nothing elsewhere
    assert card.data.license is None
    (result,) = card.data.eval_results
    assert result.dataset_name == "val"
    assert f"**{result.metric_value:.4f}** nats/token" in card.text
    for said in ("train.jsonl", "λ: 0.5", "LoRA, rank 4", "learning_rate: 0.003", "Steps: 2"):
        assert said in card.text


def test_base_models_and_licence(tmp_path):
    def card(generator: str, reasoner: str) -> ModelCard:
        training = {"model": {"generator": generator, "reasoner": reasoner}, "steps": 1}
        write_card(tmp_path, FlyThinkerConfig(), training, PromptConfig())
        return ModelCard.load(tmp_path / "README.md")

    embedded = card("smollm2-135m", "smollm2-135m").data
    assert embedded.base_model == ["HuggingFaceTB/SmolLM2-135M-Instruct"]
    assert embedded.license == "apache-2.0"
    named = card("Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-1.5B-Instruct").data
    assert named.base_model == ["Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-1.5B-Instruct"]
    assert named.license is None
    with pytest.raises(FlyThinkerError, match=r"says no license.*--license"):
        set_license(tmp_path, None)
    set_license(tmp_path, "apache-2.0")
    assert ModelCard.load(tmp_path / "README.md").data.license == "apache-2.0"
    with pytest.raises(FlyThinkerError, match="not a finished model folder"):
        set_license(tmp_path / "other", None)


LOAD = """
import sys, torch
import flythinker.model
from flythinker.model_folder import load_model_folder
from transformers import AutoModelForCausalLM, AutoTokenizer
there, here = (AutoModelForCausalLM.from_pretrained(name) for name in sys.argv[1:])
assert type(there) is flythinker.FlyThinkerForCausalLM
ids = AutoTokenizer.from_pretrained(sys.argv[1])("Gentlemen", return_tensors="pt").input_ids
assert torch.equal(there(ids).logits, here(ids).logits)
personal, local = map(load_model_folder, sys.argv[1:])
assert personal.prompt == local.prompt and personal.prompt.profile_tokens == 60
assert personal.training == local.training and personal.training["steps"] == 2
assert torch.equal(personal.model(ids).logits, here(ids).logits)
there.push_to_hub("me/other")
"""
STRANGER = """
import sys
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=True)
assert type(model).__name__ == "FlyThinkerForCausalLM"
"""


def test_pushed_to_a_hub_and_loaded_from_there(configure, hub, tmp_path):
    folder = train(configure(*EVALUATED))
    push = ("push", str(folder), "me/writer")
    assert "--license" in fail(*push)
    assert hub.repos == {}

    pushed = run(hub, tmp_path, "-m", "flythinker", *push, "--license", "mit", "--private")
    assert pushed.returncode == 0, pushed.stderr
    assert pushed.stdout.strip() == f"{hub.url}/me/writer"
    assert hub.private == {"me/writer": True}
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert hub.repos["me/writer"] == files
    assert b"license: mit" in files["README.md"]

    loaded = run(hub, tmp_path, "-c", LOAD, "me/writer", str(folder))
    assert loaded.returncode == 0, loaded.stderr
    # what a program pushes that knows us, one can load that does not
    assert "flythinker_model.py" in hub.repos["me/other"]
    loaded = run(hub, tmp_path, "-c", STRANGER, "me/other")
    assert loaded.returncode == 0, loaded.stderr
