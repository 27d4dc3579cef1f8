"""The real comparison on the tiny backbone: every step, killed and resumed, and its report."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from transformers import LlamaForCausalLM

from flythinker.backbones.scratch import Sizes, trained_tokenizer
from flythinker.comparison.config import load_comparison
from flythinker.comparison.report import write_comparison
from flythinker.comparison.run import collect, read_test, run
from flythinker.data.example import write_examples
from flythinker.data.histories import swap_histories, without_histories
from flythinker.errors import FlyThinkerError
from flythinker.model_folder import load_tokenizer
from flythinker.scoring.losses import load_losses, save_losses

TWO = {"sft": None, "flythinker": None}


def compared(path: Path) -> dict:
    comparison = load_comparison(path)
    examples = read_test(comparison)
    run(comparison, examples)
    return write_comparison(comparison, collect(comparison, examples), examples, "Test")


def figures(data: dict) -> dict:
    """All that was measured, without where and how long."""
    return {key: data[key] for key in ("results", "positions", "segments", "personal")}


@pytest.mark.slow
def test_two_methods_over_two_seeds(comparison_file):
    path = comparison_file({"rag": None, **TWO}, seeds=[1, 2])
    data = compared(path)
    rag, sft, fly = data["results"]
    assert (rag["seeds"], sft["seeds"], fly["seeds"]) == ([1], [1, 2], [1, 2])
    loss = sft["metrics"]["loss"]
    assert loss["value"] == pytest.approx(np.mean(loss["per_seed"]))
    assert loss["sd"] == pytest.approx(np.std(loss["per_seed"], ddof=1))
    assert rag["metrics"]["loss"]["sd"] is None
    # trained on the same kind of texts, SFT predicts better: it is the best baseline
    assert loss["difference"] is None
    assert rag["metrics"]["loss"]["against"] == "SFT"
    assert rag["metrics"]["loss"]["verdict"] == "worse"
    assert fly["metrics"]["loss"]["against"] == "SFT"
    assert {"rouge1", "corpus_bleu", "meteor"} <= sft["metrics"].keys()
    assert [row["name"] for row in data["personal"]] == ["rag", "sft", "flythinker"]
    assert data["positions"][0]["n_examples"] == 12

    results = load_comparison(path).results
    page, markdown = (results / "report.html").read_text(), (results / "report.md").read_text()
    assert "<script" not in page
    assert "http" not in page.replace("http://www.w3.org", "")
    for words in ("Is it personal?", "FlyThinker (2 seeds)", "±", "along the text"):
        assert words in page
        assert words in markdown
    assert json.loads((results / "report.json").read_text())["results"] == data["results"]


def test_entries_with_two_tokenizers_compare_by_character(
    comparison_file, data, tmp_path, monkeypatch
):
    monkeypatch.setenv("FLYTHINKER_CACHE", str(tmp_path / "cache"))
    tokenizer = load_tokenizer(str(trained_tokenizer(data / "train.jsonl", 270)))
    LlamaForCausalLM(Sizes(1, 32, 2).config(tokenizer)).save_pretrained(tmp_path / "other")
    tokenizer.save_pretrained(tmp_path / "other")
    entry = {"method": "rag", "label": "Other", "set": [f"model.generator={tmp_path / 'other'}"]}
    path = comparison_file(
        {"rag": None, "other": entry, "nonpers": None}, response_tokens=400, measure=["loss"]
    )
    rows = compared(path)["results"]
    ours, other, third = (row["metrics"] for row in rows)
    for metrics in (ours, third):
        assert metrics["loss"]["against"] in ("RAG", "Non-pers")
    assert other["loss"]["against"] == "Other"  # nobody else has its tokens
    assert other["loss"]["difference"] is None
    differing = [m["character_loss"] for m in (ours, other, third)]
    assert sum(cell["difference"] is None for cell in differing) == 1  # the best of all three
    assert len({cell["against"] for cell in differing}) == 1
    # the token that ends a text is no character
    characters = sum(len(example.target.strip()) for example in read_test(load_comparison(path)))
    losses = load_losses(load_comparison(path).results / "other-s1/losses-own.npz")
    nats = sum(float(one.sum()) for one in losses)
    assert other["character_loss"]["value"] == pytest.approx(nats / characters, rel=1e-4)


def test_nothing_is_measured_twice(comparison_file):
    path = comparison_file(TWO)
    first = compared(path)
    results = load_comparison(path).results
    before = {file: file.stat().st_mtime_ns for file in results.glob("*/*")}
    assert figures(compared(path)) == figures(first)
    assert {file: file.stat().st_mtime_ns for file in results.glob("*/*")} == before


def test_other_settings_do_not_mix_with_what_was_measured(comparison_file):
    path = comparison_file({"rag": None}, measure=["loss"])
    comparison = load_comparison(path)
    run(comparison, read_test(comparison))
    changed = load_comparison(path, ["prompt.k=1"])
    with pytest.raises(FlyThinkerError, match=r"other settings \(prompt\.k: \d → 1\)"):
        run(changed, read_test(changed))
    fewer = load_comparison(path, ["compare.examples=5"])
    with pytest.raises(FlyThinkerError, match="examples"):
        run(fewer, read_test(fewer))
    # what does not change a figure may change
    incidental = load_comparison(path, ["training.save_steps=4", "compare.batch_size=1"])
    run(incidental, read_test(incidental))
    # nor what the machine chooses, but what is set by hand
    elsewhere = load_comparison(path, ["training.bf16=auto"])
    run(elsewhere, read_test(elsewhere))
    by_hand = load_comparison(path, ["training.bf16=true"])
    with pytest.raises(FlyThinkerError, match=r"other settings \(training\.bf16: False → True\)"):
        run(by_hand, read_test(by_hand))


def test_models_can_be_thrown_away_when_all_is_measured(comparison_file, tmp_path):
    path = comparison_file({"sft": None}, keep_models=False, measure=["loss"])
    data = compared(path)
    assert not (tmp_path / "compare-work" / "sft-s1").exists()
    assert figures(compared(path)) == figures(data)


def test_a_report_of_what_is_there_so_far(comparison_file):
    path = comparison_file(TWO)
    comparison = load_comparison(path)
    examples = read_test(comparison)
    assert collect(comparison, examples) == []
    run(load_comparison(comparison_file({"sft": None})), examples)
    data = write_comparison(comparison, collect(comparison, examples), examples, "Half")
    assert [row["label"] for row in data["results"]] == ["SFT"]


@pytest.mark.slow
def test_a_comparison_of_40_texts_killed_twice_gives_the_same_table(
    comparison_file, examples, tmp_path
):
    forty = [*examples, *(replace(e, query=f"Again: {e.query}") for e in examples[:10])]
    test = str(tmp_path / "forty.jsonl")
    write_examples(test, [replace(e, user_id="ab"[i % 2]) for i, e in enumerate(forty)])
    whole = compared(comparison_file(TWO, "whole", test=test))
    assert whole["positions"][0]["n_examples"] == 40
    path = comparison_file(TWO, "killed", test=test)
    results = load_comparison(path).results
    code = (
        "import sys; from pathlib import Path; "
        "from flythinker.comparison.config import load_comparison; "
        "from flythinker.comparison.run import read_test, run; "
        "c = load_comparison(Path(sys.argv[1])); run(c, read_test(c))"
    )
    work = path.parent / "killed-work"
    # in the training of the first method, then while the second writes
    for begun in (
        work / "sft-s1/train/checkpoint-2",
        results / "flythinker-s1/outputs.jsonl.partial",
    ):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(path)],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 120
        while not begun.exists():
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.kill()
        process.wait()
    assert figures(compared(path)) == figures(whole)


def test_token_losses_are_kept_closely(tmp_path):
    generator = np.random.default_rng(0)
    losses = [generator.exponential(3, n).astype(np.float32) for n in (5, 0, 300)]
    save_losses(tmp_path / "losses.npz", losses)
    kept = load_losses(tmp_path / "losses.npz")
    assert [len(nats) for nats in kept] == [5, 0, 300]
    np.testing.assert_allclose(np.concatenate(kept), np.concatenate(losses), rtol=1e-3)
    assert np.mean(kept[2]) == pytest.approx(np.mean(losses[2]), abs=2e-4)


def test_swapped_histories_are_another_users_and_always_the_same(comparison_file):
    examples = read_test(load_comparison(comparison_file({"rag": None})))
    swapped = swap_histories(examples)
    owners = {example.history: example.user_id for example in examples}
    for before, after in zip(examples, swapped, strict=True):
        assert owners[after.history] != before.user_id
        assert (after.query, after.target, after.user_id) == (
            before.query,
            before.target,
            before.user_id,
        )
    assert swap_histories(examples) == swapped
    assert not any(example.history for example in without_histories(examples))
    with pytest.raises(FlyThinkerError, match="needs two users"):
        swap_histories([example for example in examples if example.user_id == "ada"])


def test_texts_are_cut_by_the_tokenizer_of_an_entry(comparison_file, backbone, tmp_path, caplog):
    """The model of the config itself need not be there; without any, only that part is missing."""
    own = shutil.copytree(backbone, tmp_path / "own")
    path = comparison_file(
        {"rag": {"set": [f"model.generator={own}", "model.reasoner=null"]}},
        measure=["texts"],
        response_tokens=120,
        examples=4,
    )
    comparison = load_comparison(path, ["model.generator=nowhere"])
    examples = read_test(comparison)
    run(comparison, examples)
    measured = collect(comparison, examples)
    data = write_comparison(comparison, measured, examples, "With")
    assert data["segments"]
    shutil.rmtree(own)
    without = write_comparison(comparison, measured, examples, "Without")
    assert without["segments"] == []
    assert without["results"] == data["results"]
    assert "texts are not cut" in caplog.text
