"""The demo with a tiny model, on the real texts."""

import json
import time
from functools import partial

import pytest
import yaml
from rich.console import Console

from flythinker.demo.plan import STEPS
from flythinker.demo.run import METHODS, EndOfTime, _timed, run_demo
from flythinker.model_folder import read_training
from flythinker.training.run import Recipe, train


@pytest.mark.slow
def test_it_reports_what_it_did_and_goes_on_where_it_was(config_file, tmp_path):
    raw = yaml.safe_load(config_file.read_text())
    raw["training"] |= {"eval_strategy": "steps", "save_strategy": "steps", "save_total_limit": 1}
    raw["prompt"] = {"k": 1, "profile_tokens": 40, "query_tokens": 20, "response_tokens": 60}
    config_file.write_text(yaml.safe_dump(raw))
    out = tmp_path / "demo"
    with (tmp_path / "log").open("w") as log:
        report = run_demo(config_file, out, 1.2, Console(file=log, width=200))
    plan = json.loads((out / "plan.json").read_text())
    said = (tmp_path / "log").read_text()
    page = report.with_suffix(".md").read_text()
    assert f"Plan: {plan['steps']} steps and {plan['texts']} texts each" in said
    for text in (said, page):
        assert f"SFT {plan['steps']} of {plan['steps']} planned" in text
        assert "minutes up to this report, of 1.2 given" in text
    for folder in METHODS.values():
        assert read_training(out / folder / "model")["steps"] == plan["steps"]
        assert len((out / f"{folder}.jsonl").read_text().splitlines()) == plan["texts"]

    models = [(out / folder / "model").stat().st_mtime for folder in METHODS.values()]
    with (tmp_path / "log").open("w") as log:  # what is there is not made again
        run_demo(config_file, out, 1.2, Console(file=log, width=200))
    assert "Going on by the plan" in (tmp_path / "log").read_text()
    assert models == [(out / folder / "model").stat().st_mtime for folder in METHODS.values()]


def test_a_training_ends_in_time_with_its_loss(configure, tmp_path):
    settings = configure("training.eval_strategy=steps", "training.eval_steps=100")
    stop = EndOfTime(time.monotonic() - 1, most=30)
    training = read_training(train(settings, recipe=Recipe(trainer=partial(_timed, stop))))
    assert training["steps"] == STEPS[0]
    assert any("eval_loss" in entry for entry in training["log_history"])


def test_the_other_method_takes_as_many_steps(configure):
    stop = EndOfTime(time.monotonic() + 600, most=4)
    training = read_training(train(configure(), recipe=Recipe(trainer=partial(_timed, stop))))
    assert training["steps"] == 4
