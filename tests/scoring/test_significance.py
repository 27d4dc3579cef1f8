import time

import numpy as np
import pytest

from flythinker.errors import FlyThinkerError
from flythinker.scoring.significance import (
    Estimate,
    Interval,
    bootstrap,
    mean_statistics,
    paired_difference,
)


def mean_of(scores, **settings) -> Estimate:
    return bootstrap(mean_statistics(scores), **settings)


def difference_of(scores, baseline, weights=1, **settings) -> Interval:
    """Of the means, or of the means over `weights` tokens a text."""
    weigh = np.reshape(weights, (-1, 1))
    sides = (weigh * mean_statistics(values) for values in (scores, baseline))
    return paired_difference(*sides, **settings)


def test_a_real_difference_is_found_and_its_sign_kept():
    rng = np.random.default_rng(0)
    baseline = rng.normal(3.2, 0.5, 300)
    better = baseline - 0.02 + rng.normal(0, 0.05, 300)
    found = difference_of(better, baseline)
    assert found.difference == pytest.approx((better - baseline).mean())
    assert found.low < found.difference < found.high < 0
    assert found.significant
    assert found.p_value < 0.001
    # Unpaired, the spread of the examples would hide it: pairing is what finds it.
    assert found.high - found.low < 0.02


def test_no_difference_covers_0():
    rng = np.random.default_rng(1)
    scores = rng.normal(20, 5, 200)
    other = scores + rng.normal(0, 1, 200) - rng.normal(0, 1, 200)
    found = difference_of(other - (other - scores).mean(), scores)
    assert found.low < 0 < found.high
    assert not found.significant
    assert found.p_value > 0.5


def test_the_same_scores_differ_by_exactly_0():
    scores = np.random.default_rng(2).random(50)
    found = difference_of(scores, scores, weights=np.arange(1, 51))
    assert (found.difference, found.low, found.high, found.p_value) == (0, 0, 0, 1)


def test_interval_is_that_of_normal_theory():
    scores = np.random.default_rng(3).normal(0, 1, 400)
    found = mean_of(scores)
    half_width = 1.96 * scores.std() / np.sqrt(400)
    assert found.value == pytest.approx(scores.mean())
    assert found.high - found.low == pytest.approx(2 * half_width, rel=0.05)


def test_95_percent_intervals_hold_the_truth_about_95_percent_of_the_time():
    rng = np.random.default_rng(4)
    holds = 0
    for trial in range(200):
        tokens = rng.integers(50, 400, 80)
        baseline = rng.normal(3, 0.4, 80)
        scores = baseline + rng.normal(-0.1, 0.2, 80)  # independent of length: truth is -0.1
        found = difference_of(scores, baseline, weights=tokens, samples=400, seed=trial)
        holds += found.low <= -0.1 <= found.high
    assert 0.89 <= holds / 200 <= 0.99


def test_equal_weights_are_no_weights():
    rng = np.random.default_rng(5)
    scores, baseline = rng.random(60), rng.random(60)
    plain = difference_of(scores, baseline)
    weighted = difference_of(scores, baseline, weights=np.full(60, 7))
    assert weighted.difference == pytest.approx(plain.difference)
    assert (weighted.low, weighted.high) == pytest.approx((plain.low, plain.high))


def test_weights_make_the_mean_one_over_tokens():
    assert bootstrap(np.array([[3.0, 1], [3.0, 3]])).value == pytest.approx(1.5)


def test_results_repeat_with_the_seed():
    scores = np.random.default_rng(6).random(40)
    assert mean_of(scores, seed=1) == mean_of(scores, seed=1)
    assert mean_of(scores, seed=1) != mean_of(scores, seed=2)


def test_500_examples_take_less_than_a_second_of_cpu():
    rng = np.random.default_rng(7)
    scores, baseline = rng.random(500), rng.random(500)
    start = time.process_time()
    difference_of(scores, baseline)
    assert time.process_time() - start < 1


def test_other_examples_and_none_are_refused():
    with pytest.raises(FlyThinkerError, match="same examples"):
        difference_of([1.0, 2.0], [1.0])
    with pytest.raises(FlyThinkerError, match="no examples"):
        mean_of([])
