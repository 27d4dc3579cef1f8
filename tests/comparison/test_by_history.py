"""Losses by how much a user had written before."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from flythinker.comparison.by_history import history_rows, history_section
from flythinker.comparison.curves import validation_curves
from flythinker.data.example import Document, Example
from flythinker.methods.flythinker import FlyThinker
from flythinker.methods.rag import RAG
from flythinker.methods.sft import SFT

SECTION: Any = SimpleNamespace(baseline="sft")


def example(past: int) -> Example:
    return Example(f"u{past % 12}", "q", "t", tuple(Document("x") for _ in range(past)), "2024")


def result(name: str, method: type, losses: list[float]) -> Any:
    trial = SimpleNamespace(name=name, label=name, method=method, seed=1, id=f"{name}-s1")
    nats = [np.full(10, loss, dtype=np.float32) for loss in losses]
    return SimpleNamespace(trial=trial, losses={"own": nats}, texts=None, characters=None)


def test_a_gain_that_comes_with_history_shows_in_its_third():
    counts = np.random.default_rng(0).permutation(60) + 1
    examples = [example(int(count)) for count in counts]
    noise = np.random.default_rng(1).normal(0, 0.01, 60)
    gains = np.where(counts > 40, -0.5, 0.0) + noise
    measured = [
        result("sft", SFT, [4.0] * 60),
        result("flythinker", FlyThinker, [4.0 + gain for gain in gains]),
    ]
    thirds = history_rows(measured, examples, SECTION)
    assert [(third["fewest"], third["most"]) for third in thirds] == [(1, 20), (21, 40), (41, 60)]
    found = [third["rows"][1]["metrics"]["loss"]["difference"]["difference"] for third in thirds]
    assert found == pytest.approx([0, 0, -0.5], abs=0.02)
    section = history_section(thirds)
    assert section is not None
    assert "41-60 (20 texts)" in section.tables[0].columns


@pytest.mark.parametrize("counts", [[5] * 60, [1, 2, 3], [0] * 50 + [1] * 10])
def test_where_there_are_no_thirds_nothing_is_said(counts):
    examples = [example(count) for count in counts]
    measured = [result("sft", SFT, [4.0] * len(counts))]
    assert history_rows(measured, examples, SECTION) == []
    assert history_section([]) is None


def test_the_past_of_a_model_that_is_not_trained_here_is_no_curve():
    """Its losses are of other texts, and other steps."""
    log = {"log_history": [{"step": 10, "eval_loss": 3.0}]}
    trained, taken = result("sft", SFT, [4.0]), result("before", RAG, [5.0])
    trained.training = taken.training = log
    assert [curve["label"] for curve in validation_curves([trained, taken])] == ["sft"]
