"""What a reviewer asks of a comparison: intervals over users, every baseline, the results alone."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from command import succeed
from flythinker.comparison.config import load_comparison
from flythinker.comparison.curves import frontier, frontier_section
from flythinker.comparison.efficiency import measure_efficiency
from flythinker.comparison.report import write_comparison
from flythinker.comparison.run import collect, read_measured, read_test, run
from flythinker.comparison.trial import missing_files
from flythinker.data.example import write_examples
from flythinker.scoring.losses import held_out_loss, load_losses
from flythinker.scoring.significance import grouped, paired_difference

LOSS = {"measure": ["loss"], "loss_batch_size": 4}


def compared(path: Path) -> dict:
    comparison = load_comparison(path)
    examples = read_test(comparison)
    run(comparison, examples)
    return write_comparison(comparison, collect(comparison, examples), examples, "Test")


def test_grouped_statistics_are_sums_of_whole_groups():
    statistics = np.array([[1.0, 2], [3, 4], [5, 6]])
    assert grouped(statistics, ["b", "a", "b"]).tolist() == [[3, 4], [6, 8]]


def test_texts_that_are_alike_make_a_wider_interval_over_users():
    """Ten users with twenty texts each that all differ by the user's own amount."""
    generator = np.random.default_rng(0)
    users = [f"user {i // 20}" for i in range(200)]
    tokens = np.full(200, 100.0)
    baseline = np.column_stack([generator.normal(300, 5, 200), tokens])
    better = baseline.copy()
    better[:, 0] -= 5 + 10 * np.repeat(generator.normal(size=10), 20)
    over_texts = paired_difference(better, baseline)
    over_users = paired_difference(grouped(better, users), grouped(baseline, users))
    assert over_users.difference == pytest.approx(over_texts.difference)
    assert over_users.high - over_users.low > 3 * (over_texts.high - over_texts.low)


def test_every_entry_against_every_trained_baseline(comparison_file, examples, tmp_path):
    test = str(tmp_path / "twelve.jsonl")
    write_examples(test, [replace(e, user_id=f"user {i}") for i, e in enumerate(examples[18:30])])
    methods = {
        "rag": None,
        "sft": None,
        "deep": {"set": ["training.draft_loss_weight=0.5"]},
        "flythinker": None,
        "late": {"set": ["training.draft_loss_weight=0.5"]},
    }
    path = comparison_file(methods, test=test, seeds=[1, 2], **LOSS)
    data = compared(path)
    rows = {row["name"]: row["against"] for row in data["against"]}
    deep = "SFT, auxiliary loss at its middle"
    assert {name: set(row) for name, row in rows.items()} == {
        "rag": {"SFT", deep},
        "sft": {deep},
        "deep": {"SFT"},
        "flythinker": {"SFT", deep},
        "late": {"SFT", deep},
    }
    cell = rows["flythinker"]["SFT"]
    results = load_comparison(path).results
    losses = {
        (name, seed): held_out_loss(load_losses(results / f"{name}-s{seed}" / "losses-own.npz"))
        for name in ("sft", "flythinker")
        for seed in (1, 2)
    }
    assert cell["per_seed"] == {
        str(seed): pytest.approx(losses["flythinker", seed] - losses["sft", seed])
        for seed in (1, 2)
    }
    assert cell["difference"] == pytest.approx(np.mean(list(cell["per_seed"].values())))
    # one text a user: users and texts are drawn alike
    for bound in ("low", "high"):
        assert cell["over_users"][bound] == pytest.approx(cell[bound], abs=0.002)
    page = (results / "report.md").read_text()
    assert "Against every baseline" in page
    assert "lower in" in page


def test_few_users_give_no_interval_over_users(comparison_file):
    data = compared(comparison_file({"sft": None, "flythinker": None}, **LOSS))
    fly = data["against"][1]["against"]["SFT"]
    assert fly["over_users"] is None
    assert data["results"][1]["metrics"]["loss"]["over_users"] is None


def test_a_report_needs_nothing_but_the_results(comparison_file, config_file, tmp_path):
    """No data, models or tokenizer: another machine makes the same page of what is committed."""
    methods = {"sft": None, "flythinker": None}
    path = comparison_file(methods, measure=["loss", "swap"])
    whole = compared(path)
    results = load_comparison(path).results
    # made again by the command, whose process may have another number of threads, which pages tell
    succeed("compare", path, "--report", "--title", "Test")
    before = {name: (results / name).read_bytes() for name in ("report.html", "report.json")}
    results.rename(tmp_path / "elsewhere")
    overrides = [
        f"compare.results={tmp_path / 'elsewhere'}",
        f"compare.test={tmp_path / 'gone.jsonl'}",
        f"data.train={tmp_path / 'gone.jsonl'}",
        f"training.output_dir={tmp_path / 'gone'}",
        "model.generator=gone",
        "model.reasoner=gone",
    ]
    options = [part for override in overrides for part in ("--set", override)]
    printed = succeed("compare", path, "--report", "--json", "--title", "Test", *options)
    assert json.loads(printed)["results"] == json.loads(json.dumps(whole["results"]))
    for name, content in before.items():
        assert (tmp_path / "elsewhere" / name).read_bytes() == content
    assert not read_measured(load_comparison(path, overrides))[0].history


def test_a_unit_that_another_process_is_at_is_left_to_it(comparison_file):
    path = comparison_file({"sft": None, "rag": None}, **LOSS)
    comparison = load_comparison(path)
    work = Path(comparison.config.training.output_dir)
    work.mkdir()
    with FileLock(work / "sft-s1.lock"):
        run(comparison, read_test(comparison))
        assert not (comparison.results / "sft-s1").exists()
        assert (comparison.results / "rag-s1" / "losses-own.npz").exists()
    run(comparison, read_test(comparison))
    assert (comparison.results / "sft-s1" / "losses-own.npz").exists()


@pytest.mark.slow
def test_two_processes_share_a_comparison(comparison_file):
    path = comparison_file({"sft": None, "flythinker": None}, **LOSS)
    command = [sys.executable, "-m", "flythinker", "compare", str(path)]
    both = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in "ab"
    ]
    for process in both:
        _, error = process.communicate()
        assert process.returncode == 0, error
    results = load_comparison(path).results
    assert all((results / f"{n}-s1" / "losses-own.npz").exists() for n in ("sft", "flythinker"))


def test_validation_loss_by_tokens_read(comparison_file):
    path = comparison_file({"sft": None, "flythinker": None}, **LOSS)
    overrides = ["training.eval_strategy=steps", "training.eval_steps=3"]
    overrides += ["training.include_num_input_tokens_seen=non_padding"]
    comparison = load_comparison(path, overrides)
    examples = read_test(comparison)
    run(comparison, examples)
    data = write_comparison(comparison, collect(comparison, examples), examples, "Test")
    first, second = data["curves"]
    assert [point["step"] for point in first["points"]] == [3, 6]
    # the same order of the data for all
    assert [p["tokens"] for p in first["points"]] == [p["tokens"] for p in second["points"]]
    assert 0 < first["points"][0]["tokens"] < first["points"][1]["tokens"]
    assert "Loss while learning" in (comparison.results / "report.md").read_text()
    assert data["trials"][0]["steps"].startswith("6 steps, 0 min")


def test_the_frontier_is_of_the_baselines():
    def row(label: str, loss: float) -> dict:
        return {"label": label, "metrics": {"loss": {"value": loss}}}

    rows = [row("SFT 4", 4.0), row("SFT 8", 3.9), row("SFT slow", 4.1), row("FlyThinker", 3.85)]
    against = [{"against": {"SFT 4": 0, "SFT 8": 0, "SFT slow": 0}}]
    times = {"SFT 4": 1.0, "SFT 8": 2.0, "SFT slow": 3.0, "FlyThinker": 1.2}
    entries = {label: [{"token_milliseconds": ms}] * 3 for label, ms in times.items()}
    points = frontier(rows, against, {"entries": entries})
    assert [point["baseline"] for point in points] == [True, True, True, False]
    section = frontier_section(points)
    assert section is not None
    assert [name.text for name in section.legend] == [row["label"] for row in rows]
    assert frontier(rows, against, None) == []
    assert frontier_section([]) is None


@pytest.mark.slow
def test_a_control_that_does_not_write_has_losses_only(comparison_file):
    path = comparison_file({"sft": None, "late": None}, measure=["loss", "texts"])
    data = compared(path)
    sft, late = (row["metrics"] for row in data["results"])
    assert {"loss", "rouge1"} <= sft.keys()
    assert late.keys() == {"loss", "character_loss"}
    comparison = load_comparison(path)
    assert not missing_files(comparison, comparison.trials[1])
    figures = measure_efficiency(comparison, read_test(comparison), rounds=1)["entries"]
    assert set(figures) == {"SFT"}
    assert figures["SFT"][0]["train_seconds"] > 0
