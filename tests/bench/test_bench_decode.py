import json

import pytest
import torch
from typer.testing import CliRunner

from flythinker.bench.drafts import bench_drafts
from flythinker.bench.rounds import alternate, ratio
from flythinker.cli.main import app
from flythinker.training.run import train

KEYS = (
    "engine_vs_generate",
    "engine_vs_floor",
    "ratio_plain",
    "ratio_plain_int8",
    "batch8_speedup",
)


def test_rounds_alternate_after_one_that_does_not_count():
    called = []

    def contestant(name):
        return lambda: called.append(name) or float(len(called))

    seconds = alternate({"a": contestant("a"), "b": contestant("b")}, 2)
    assert called == ["a", "b"] * 3
    assert seconds == {"a": [3.0, 5.0], "b": [4.0, 6.0]}


def test_a_ratio_is_of_medians_and_shows_its_spread():
    measured = ratio([2.0, 4.0, 3.0], [1.0, 4.0, 2.0])
    assert measured.value == pytest.approx(3 / 2)
    assert (measured.low, measured.high, measured.rounds) == (1.0, 2.0, 3)


def test_every_figure_is_there_and_names_what_it_was_measured_on(backbone):
    options = ["--generator", backbone, "--reasoner", backbone, "--reasoner-layers", 1]
    small = ["--prompt-tokens", 20, "--rounds", 2, "--dtype", "float32", "--json"]
    done = CliRunner().invoke(app, ["bench", "decode", *map(str, [*options, *small])])
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout.strip().splitlines()[-1])["decode"]
    for key in (*KEYS, "ttft_cached_ratio"):
        spread = figures["spread"][key]
        assert 0 < spread["low"] <= spread["high"]
        assert figures[key] == spread["value"] > 0
    assert figures["setting"]["reasoner_layers"] == 1
    assert figures["environment"]["threads"] >= 1


def test_a_wrong_type_is_wrong_use(backbone):
    done = CliRunner().invoke(app, ["bench", "decode", "--dtype", "int3"])
    assert done.exit_code == 2
    assert "'int3' is not one of" in done.output
    assert "'bfloat16'" in done.output


@pytest.mark.slow
def test_drafts_are_measured_on_the_texts_of_a_trained_model(configure, data, tmp_path):
    config = configure("training.max_steps=2")
    folder = train(config)
    figures = bench_drafts(str(folder), data / "val.jsonl", torch.float32, rounds=1)
    for suffix in ("", "_sampled"):
        assert figures[f"ratio_draft{suffix}"].value > 0
        assert 0 <= figures[f"acceptance_rate{suffix}"] <= 1
        assert 0 <= figures[f"drafted_share{suffix}"] < 1
        assert figures[f"same_texts{suffix}"] == 1
        assert figures[f"ratio_effects{suffix}"].value > 0


def test_drafts_need_texts_to_write():
    done = CliRunner().invoke(app, ["bench", "decode", "--model", "somewhere"])
    assert done.exit_code == 2
    assert "--model and --data go together" in done.output
