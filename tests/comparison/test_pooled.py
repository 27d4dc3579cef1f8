"""Seeds of two entries are compared pair by pair."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from flythinker.comparison.pooled import paired
from flythinker.scoring.significance import ratio

TEXTS = 4


def entry(losses: dict[int, float], trains: bool = True) -> tuple[list[Any], list[Any]]:
    """Measurements and results of an entry whose texts all have the loss of their seed."""
    apart = [
        {"loss": (np.column_stack([np.full(TEXTS, 10 * loss), np.full(TEXTS, 10.0)]), ratio)}
        for loss in losses.values()
    ]
    method = SimpleNamespace(trains=trains)
    return apart, [SimpleNamespace(trial=SimpleNamespace(seed=s, method=method)) for s in losses]


def losses(first: tuple[list[Any], list[Any]], second: tuple[list[Any], list[Any]]) -> list[float]:
    pooled = paired(first[0], second[0], first[1], second[1])
    return [float(one["loss"][1](one["loss"][0].sum(axis=0))) for one in pooled]


def test_seeds_that_one_entry_lacks_are_left_out_of_the_other():
    """Seed 2 is a hard one for everybody, and says nothing about an entry that has it."""
    assert losses(entry({1: 4.0, 2: 5.0}), entry({1: 4.1})) == pytest.approx([4.0, 4.1])
    both = entry({1: 4.0, 2: 5.0}), entry({2: 5.1, 1: 4.1})
    assert losses(*both) == pytest.approx([4.5, 4.6])


def test_what_is_not_trained_has_no_seed_to_share():
    untrained = entry({1: 6.0}, trains=False)
    assert losses(entry({2: 4.0, 3: 5.0}), untrained) == pytest.approx([4.5, 6.0])


def test_without_a_common_seed_there_is_nothing_to_compare():
    first, second = entry({1: 4.0}), entry({2: 5.0})
    assert paired(first[0], second[0], first[1], second[1]) == ({}, {})
