import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from command import COMMAND, ENVIRONMENT, fail, succeed
from flythinker.data.example import read_examples


@pytest.fixture
def generate(trained: Path, data: Path) -> list[object]:
    options = ["--batch-size", 2, "--max-new-tokens", 16]
    return ["generate", data / "val.jsonl", "--model", trained, *options]


def test_fills_every_example_in_order(generate: list[object], data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    assert "10 outputs" in succeed(*generate, "--out", out)
    records = [json.loads(line) for line in out.read_text().splitlines()]
    written_for = {(record["query"], record["target"]) for record in records}
    assert written_for == {(e.query, e.target) for e in read_examples(data / "val.jsonl")}
    assert any(record["output"] for record in records)
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    "sent", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_stopped_run_resumes_to_the_same_outputs(
    generate: list[object], tmp_path: Path, sent: signal.Signals
) -> None:
    whole, resumed = tmp_path / "whole.jsonl", tmp_path / "resumed.jsonl"
    generate = [*generate, "--max-new-tokens", 200]  # long enough to be caught at it
    succeed(*generate, "--out", whole)

    command = [*COMMAND, *map(str, [*generate, "--out", resumed])]
    process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    partial = tmp_path / "resumed.jsonl.partial"
    while process.poll() is None and not (partial.exists() and partial.read_text().count("\n") > 1):
        time.sleep(0.005)
    os.kill(process.pid, sent)
    assert process.wait() != 0
    assert not resumed.exists()
    with partial.open("a") as file:
        file.write('[9, "a torn li')

    succeed(*generate, "--out", resumed)
    assert resumed.read_text() == whole.read_text()
    assert not partial.exists()


def test_a_full_disk_loses_nothing(generate: list[object], tmp_path: Path) -> None:
    whole, out = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    succeed(*generate, "--out", whole)
    error = fail(*generate, "--out", out, file_limit=500)
    assert "File too large" in error
    assert not out.exists()
    succeed(*generate, "--out", out)
    assert out.read_text() == whole.read_text()


def test_other_settings_do_not_mix(generate: list[object], tmp_path: Path) -> None:
    (tmp_path / "out.jsonl.partial").write_text("{}\n")
    assert "begun with other settings" in fail(*generate, "--out", tmp_path / "out.jsonl")


def test_evaluates_models_and_outputs(
    generate: list[object], trained: Path, backbone: Path, data: Path, tmp_path: Path
) -> None:
    out, report = tmp_path / "out.jsonl", tmp_path / "report.html"
    succeed(*generate, "--out", out)
    evaluate = ["evaluate", data / "val.jsonl", "--outputs", f"fly={out}"]
    models = ["--model", f"base={backbone}", "--model", f"fly={trained}"]
    shown = json.loads(
        succeed(*evaluate, *models, "--baseline", "base", "--report", report, "--json")
    )
    base, fly = (row["metrics"] for row in shown["rows"])
    assert fly["loss"]["value"] < base["loss"]["value"]
    assert fly["loss"]["difference"]["low"] <= fly["loss"]["difference"]["high"]
    assert {"rouge1", "rouge2", "rougeL", "corpus_bleu", "meteor", "length"} <= fly.keys()
    assert "nats/token" in report.read_text()
    assert report.with_suffix(".md").exists()


def test_outputs_of_other_examples_are_refused(
    generate: list[object], data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    succeed(*generate, "--out", out, "--limit", 3)
    assert "3 outputs for 10 examples" in fail(
        "evaluate", data / "val.jsonl", "--outputs", f"a={out}"
    )
    out.write_text(out.read_text().replace('"user_id": "someone"', '"user_id": "other"'))
    error = fail("evaluate", data / "val.jsonl", "--limit", 3, "--outputs", f"a={out}")
    assert f"{out}:1: is about another example" in error


def test_malformed_data_names_file_line_and_field(trained: Path, tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text('{"user_id": "a", "query": "q", "target": null, "history": []}\n')
    error = fail("evaluate", file, "--model", f"a={trained}")
    assert f"{file}:1: field 'target': expected text, got null" in error


def test_wrong_use_exits_with_2(data: Path) -> None:
    assert "at least one" in fail("evaluate", data / "val.jsonl", code=2)
    assert "NAME=PATH" in fail("evaluate", data / "val.jsonl", "--model", "x", code=2)
