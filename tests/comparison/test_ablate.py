"""The real ablation and the real timings on the tiny backbone."""

import json
import math
from pathlib import Path

import pytest
import yaml

from flythinker.comparison.ablate import load_ablation, write_ablation
from flythinker.comparison.config import load_comparison
from flythinker.comparison.efficiency import measure_efficiency
from flythinker.comparison.report import write_comparison
from flythinker.comparison.run import collect, read_test, run

SOTU = Path(__file__).parents[2] / "configs" / "compare" / "sotu.yaml"


@pytest.fixture
def ablation_file(comparison_file, tmp_path) -> Path:
    path = comparison_file({"sft": None})
    sections = yaml.safe_load(path.read_text())
    compare = sections.pop("compare")
    sections["ablate"] = {
        "test": compare["test"],
        "results": str(tmp_path / "ablate-results"),
        "response_tokens": 30,
        "set": ["training.max_steps=3"],
        "studies": {
            "fusion weight": {"points": {"0.5": [], "2": ["model.fusion_weight=2"]}},
            "history length": {
                "methods": ["sft", "flythinker"],
                "points": {"2": [], "0": ["prompt.k=0"]},
            },
        },
    }
    path.write_text(yaml.safe_dump(sections, sort_keys=False))
    return path


def ablate(path: Path, only: list[str] | None = None) -> dict:
    ablation = load_ablation(path, only=only)
    examples = read_test(ablation.comparison)
    run(ablation.comparison, examples)
    return write_ablation(ablation, collect(ablation.comparison, examples), examples, "Test")


def test_each_study_gets_a_table_and_a_plot(ablation_file):
    studies = ablate(ablation_file)["studies"]
    (weights,) = studies["fusion weight"]
    assert [point["point"] for point in weights["points"]] == ["0.5", "2"]
    first, second = weights["points"]
    assert first["difference"] is None
    difference = second["value"] - first["value"]
    assert second["difference"]["difference"] == pytest.approx(difference, abs=1e-6)
    sft, fly = studies["history length"]
    assert (sft["method"], fly["method"]) == ("SFT", "FlyThinker")
    assert fly["points"][0]["value"] == first["value"]  # a point that two studies share
    results = load_ablation(ablation_file).comparison.results
    page = (results / "report.html").read_text()
    assert page.count("<svg") == 2
    assert "history length" in (results / "report.md").read_text()
    assert json.loads((results / "report.json").read_text())["studies"] == studies


def test_shared_points_are_trained_once_and_models_thrown_away(ablation_file):
    ablate(ablation_file, ["fusion weight"])
    ablation = load_ablation(ablation_file)
    assert len(list(ablation.comparison.results.glob("*/losses-own.npz"))) == 2
    assert len(ablation.comparison.trials) == 5
    examples = read_test(ablation.comparison)
    data = write_ablation(ablation, collect(ablation.comparison, examples), examples, "So far")
    assert [len(line["points"]) for line in data["studies"]["history length"]] == [0, 1]
    work = Path(ablation.comparison.config.training.output_dir)
    assert not list(work.glob("*/train"))


@pytest.mark.slow
def test_every_point_is_timed_and_the_report_shows_it(ablation_file):
    ablation = load_ablation(ablation_file, only=["fusion weight"])
    examples = read_test(ablation.comparison)
    data = measure_efficiency(ablation.comparison, examples, rounds=1)
    labels = ["FlyThinker, fusion weight: 0.5", "FlyThinker, fusion weight: 2"]
    assert list(data["entries"]) == labels
    assert write_ablation(ablation, [], examples, "Test")["efficiency"] == data
    assert labels[1] in (ablation.comparison.results / "report.md").read_text()


def test_the_configs_of_the_repository_load():
    comparison = load_comparison(SOTU)
    assert len({trial.name for trial in comparison.trials}) == 10
    seeds = {name: [u.seed for u in comparison.trials if u.name == name] for name in ("sft", "rag")}
    assert seeds == {"sft": [1, 2, 3], "rag": [1]}
    studies = load_ablation(SOTU).studies
    weights = {"0", "0.1", "0.2", "0.5", "1", "2", "5"}
    assert studies["fusion weight"].points.keys() == weights
    assert studies["injection"].points.keys() == {"global", "input", "output"}


@pytest.mark.slow
def test_every_entry_is_timed_and_the_report_shows_it(comparison_file):
    path = comparison_file({"rag": None, "flythinker": None})
    comparison = load_comparison(path)
    examples = read_test(comparison)
    data = measure_efficiency(comparison, examples, rounds=1)
    labels = ["RAG", "FlyThinker"]
    assert list(data["entries"]) == labels
    for label in labels:
        (figures,) = data["entries"][label]
        assert math.isfinite(figures["token_milliseconds"])  # on a busy machine even below 0
        assert figures["first_token_seconds"] > 0
        assert figures["cache_megabytes"] > 0
        assert (figures["train_seconds"] is None) == (label == "RAG")
    sizes = {label: runs[0]["cache_megabytes"] for label, runs in data["entries"].items()}
    assert sizes["FlyThinker"] > sizes["RAG"]
    again = measure_efficiency(comparison, examples, rounds=1)
    assert again["entries"] == data["entries"]  # a finished round is not repeated
    shown = write_comparison(comparison, [], examples, "Test")
    assert shown["efficiency"]["entries"] == data["entries"]
