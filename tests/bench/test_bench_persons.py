"""What adapters cost a server, and what learning somebody does to others, on tiny models."""

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from flythinker.bench import learning, persons, served
from flythinker.bench.served import ServeSetting
from flythinker.cli.main import app
from flythinker.data.example import read_examples
from flythinker.data.prompt import PromptConfig
from flythinker.model_folder import load_tokenizer, save_model_folder
from flythinker.training.build import build_model
from flythinker.training.config import ModelSection


@pytest.fixture(scope="module")
def folder(tmp_path_factory, backbone) -> Path:
    """A random FlyThinker model, whose thoughts say something."""
    torch.manual_seed(0)
    sizes = ModelSection(str(backbone), str(backbone), reasoner_layers=1, projection="linear")
    model = build_model(sizes, None).eval()
    torch.nn.init.normal_(model.projection.weight, std=0.2)
    made = tmp_path_factory.mktemp("model")
    prompt = PromptConfig(k=2, profile_tokens=60, query_tokens=40, response_tokens=120)
    save_model_folder(made, model, load_tokenizer(str(backbone)), prompt, {})
    return made


def test_those_who_have_adapters_and_nobody_else_write_with_them(folder, data, monkeypatch):
    monkeypatch.setattr(persons, "ROUNDS", 1)
    monkeypatch.setattr(persons, "SMALL", 1.0)  # no longer too small to change a text
    setting = ServeSetting(str(folder), data / "val.jsonl", clients=6, slots=3, persons=3)
    figures = persons.persons_figures(setting, read_examples(setting.data))
    assert figures["same_texts"] == 3
    assert figures["ratio"].rounds == figures["processor_ratio"].rounds == 1
    assert figures["ratio"].low > 0
    assert all(speed > 0 for each in figures["tokens_per_second"].values() for speed in each)


@pytest.mark.slow
def test_others_write_while_somebody_is_learned(folder, data, monkeypatch):
    monkeypatch.setattr(learning, "ROUNDS", 1)
    monkeypatch.setattr(learning, "BURSTS", 1)
    # beside other tests, with the lowest priority, learning would take minutes
    hurry = "from flythinker.serving.learning import process; process.NICE = 1; "
    monkeypatch.setattr(served, "START", hurry + served.START)
    setting = ServeSetting(str(folder), data / "val.jsonl", slots=3, learning=True)
    figures = learning.learning_figures(setting, read_examples(setting.data))
    assert figures["per_token_ratio"].value > 0
    assert figures["first_token_ratio"].value > 0
    assert figures["idle_pauses"] == 0
    assert figures["learning_seconds"]["in pauses"] > 0.1
    assert figures["learning_seconds"]["beside texts"] < 0.1


@pytest.mark.parametrize(
    ("persons", "said"), [(3, "--persons are some of the 2 --clients"), (1, "has no Reasoner")]
)
def test_what_cannot_be_compared_is_said(backbone, data, persons, said):
    options = ["--model", backbone, "--data", data / "val.jsonl", "--clients", 2, "--seconds", 1]
    given = ["bench", "serve", *map(str, options), "--persons", str(persons)]
    done = CliRunner().invoke(app, given, env={"COLUMNS": "200"})
    assert done.exit_code != 0
    assert said in f"{done.output}{done.exception}"
