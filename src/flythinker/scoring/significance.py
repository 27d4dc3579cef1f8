"""Bootstrap over examples: how far a number, or a difference of two, could move by chance.

Every estimate here is a function of per-example *statistics* that add up over examples, so one
resampling serves all of them: a mean is (sum of scores) / (number of examples), held-out loss is
(sum of nats) / (number of tokens), corpus BLEU is a function of n-gram counts. Percentile
intervals; Koehn (2004), "Statistical Significance Tests for Machine Translation Evaluation".
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flythinker.errors import FlyThinkerError

Estimator = Callable[[NDArray], float]
"""Summed statistics [k] -> the estimate."""


@dataclass(frozen=True)
class Interval:
    """A difference to the baseline with its 95 % interval and two-sided p-value."""

    difference: float
    low: float
    high: float
    p_value: float

    @property
    def significant(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


def ratio(total: NDArray) -> float:
    """The estimator of (weighted) means: first column over second."""
    return total[0] / total[1]


def bootstrap(
    statistics: NDArray,
    estimator: Estimator = ratio,
    samples: int = 10_000,
    seed: int = 0,
) -> Estimate:
    """`estimator` of the summed `statistics` [n, k] with its bootstrap interval (95 %)."""
    draws = _estimates(statistics, estimator, samples, seed)
    low, high = _percentiles(draws)
    return Estimate(float(estimator(statistics.sum(axis=0))), low, high)


def paired_difference(
    statistics: NDArray,
    baseline: NDArray,
    estimator: Estimator = ratio,
    samples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """`estimator` of `statistics` [n, k] minus that of `baseline` [n, k], the same n examples.

    Both are resampled with the same examples, so what makes an example easy or hard for both
    cancels. The p-value doubles the smaller tail at 0 and is never below 2 / (samples + 1).
    """
    if len(statistics) != len(baseline):
        raise FlyThinkerError(
            f"a paired bootstrap needs the same examples on both sides, "
            f"got {len(statistics)} and {len(baseline)}"
        )
    # The same seed gives the same resamples on both sides: this is what pairs them.
    draws = _estimates(statistics, estimator, samples, seed) - _estimates(
        baseline, estimator, samples, seed
    )
    low, high = _percentiles(draws)
    tail = min(np.sum(draws <= 0), np.sum(draws >= 0))
    return Interval(
        difference=float(estimator(statistics.sum(axis=0)) - estimator(baseline.sum(axis=0))),
        low=low,
        high=high,
        p_value=float(min(1.0, 2 * (tail + 1) / (samples + 1))),
    )


def grouped(statistics: NDArray, groups: Sequence[str]) -> NDArray:
    """Statistics [n, k] summed within each of the groups that `groups` [n] names, [groups, k].

    A bootstrap of these draws whole groups (a cluster bootstrap): over authors, say, whose texts
    are more alike than those of different authors.
    """
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.zeros((group.max(initial=-1) + 1, statistics.shape[1]), dtype=statistics.dtype)
    np.add.at(sums, group, statistics)
    return sums


def mean_statistics(scores: ArrayLike) -> NDArray:
    """Statistics [n, 2] whose `ratio` is the mean of `scores` [n]."""
    scores = np.asarray(scores, dtype=np.float64)
    return np.column_stack([scores, np.ones_like(scores)])


def _estimates(statistics: NDArray, estimator: Estimator, samples: int, seed: int) -> NDArray:
    """`estimator` on `samples` resamples of the rows, float64 [samples]."""
    if len(statistics) == 0:
        raise FlyThinkerError("nothing to bootstrap: there are no examples")
    resamples = _times_drawn(len(statistics), samples, seed)
    return np.array([estimator(times_drawn @ statistics) for times_drawn in resamples])


@lru_cache(maxsize=2)
def _times_drawn(n: int, samples: int, seed: int) -> NDArray[np.uint16]:
    """How often each resample draws each of `n` examples, [samples, n]; kept: all metrics share it.

    Two bytes an entry are enough: in a resample of n, no example comes 65,536 times.
    """
    generator = np.random.default_rng(seed)
    times_drawn = np.empty((samples, n), dtype=np.uint16)
    for i in range(samples):
        times_drawn[i] = np.bincount(generator.integers(n, size=n), minlength=n)
    return times_drawn


def _percentiles(draws: NDArray) -> tuple[float, float]:
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)
