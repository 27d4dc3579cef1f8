"""Several seeds of an entry as one, and two entries side by side, seed by seed."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flythinker.comparison.run import TrialResult
from flythinker.evaluation.compare import MIN_EXAMPLES, Measurements, verdict
from flythinker.scoring.losses import loss_statistics
from flythinker.scoring.significance import grouped, paired_difference, ratio


def by_entry(measured: Sequence[TrialResult]) -> dict[str, list[TrialResult]]:
    """The results of each entry, by its name."""
    groups: dict[str, list[TrialResult]] = {}
    for result in measured:
        groups.setdefault(result.trial.name, []).append(result)
    return groups


def losses_of(result: TrialResult, part: slice, examples: Sequence[int]) -> Measurements:
    """The held-out loss of `examples`, of a `part` of their tokens; nothing if not measured."""
    if "own" not in result.losses:
        return {}
    nats: list[NDArray[np.float32]] = [result.losses["own"][i][part] for i in examples]
    return {"loss": (loss_statistics(nats), ratio)}


def pool(apart: Sequence[Measurements]) -> Measurements:
    """Measurements of several seeds as one: their statistics add up, text by text."""
    common = [metric for metric in apart[0] if all(metric in seed for seed in apart)]
    return {
        metric: (np.sum([seed[metric][0] for seed in apart], axis=0), apart[0][metric][1])
        for metric in common
    }


def paired(
    ours: Sequence[Measurements],
    theirs: Sequence[Measurements],
    our_results: Sequence[TrialResult],
    their_results: Sequence[TrialResult],
) -> tuple[Measurements, Measurements]:
    """Two entries over the seeds that both were trained with, each pooled; empty without any.

    A seed draws the weights and the order of the data, which may change more than what is compared.
    What is not trained has no such seed and is compared as it is.

    Args:
        ours, theirs: one for each of their results.
        our_results, their_results: of each entry, one a seed.
    """
    both = [our_results, their_results]
    seeds = [{result.trial.seed for result in results} for results in both]
    if all(results[0].trial.method.trains for results in both):
        seeds = [seeds[0] & seeds[1]] * 2
    kept = [
        [one for one, result in zip(apart, results, strict=True) if result.trial.seed in common]
        for apart, results, common in zip([ours, theirs], both, seeds, strict=True)
    ]
    return (pool(kept[0]), pool(kept[1])) if kept[0] else ({}, {})


def over_users(
    metric: str, measured: Measurements, baseline: Measurements, users: Sequence[str]
) -> dict[str, Any] | None:
    """An `Interval` as a dict with its `verdict`, whole users resampled; None for too few users."""
    if len(set(users)) < MIN_EXAMPLES:
        return None
    statistics, estimator = measured[metric]
    difference = paired_difference(
        grouped(statistics, users), grouped(baseline[metric][0], users), estimator
    )
    return asdict(difference) | {"verdict": verdict(metric, difference, len(set(users)))}
