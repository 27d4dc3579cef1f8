"""What `import flythinker` names: all of it is there, and every example in its docstring runs."""

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

import flythinker
from command import ENVIRONMENT
from flythinker.data.example import write_examples

CONFIG = """
model:
  generator: {layers: 1, width: 32, heads: 2}
  reasoner: {layers: 1, width: 32, heads: 2}
  vocabulary: 300
data: {train: train.jsonl}
training: {output_dir: run, max_steps: 2, save_strategy: "no"}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the examples run: with a small config and a file of texts, as a user would have."""
    past = (flythinker.Document("The tide was out when we came down to the sea."),)
    texts = [flythinker.Example("me", f"Write of {n}.", f"It was {n}.", past) for n in range(8)]
    write_examples(tmp_path / "train.jsonl", texts)
    (tmp_path / "train.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", flythinker.__all__)
def test_the_example_of_each_name_runs(name: str, folder: Path) -> None:
    docstring = getattr(flythinker, name).__doc__
    example = doctest.DocTestParser().get_doctest(docstring, {}, name, None, None)
    assert example.examples, f"flythinker.{name} has no example"
    report: list[str] = []
    doctest.DocTestRunner().run(example, out=report.append)
    assert not report, "".join(report)


def test_all_names_are_told_and_no_other_is_there() -> None:
    assert set(flythinker.__all__) <= set(dir(flythinker))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        flythinker.nothing  # noqa: B018


def test_what_is_not_asked_for_is_not_imported() -> None:
    """Neither `import flythinker` nor `flythinker --help` waits for torch and transformers."""
    code = "import sys, flythinker.cli.main; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=ENVIRONMENT
    )
    assert not {"torch", "transformers", "flythinker.model"} & set(done.stdout.split())
