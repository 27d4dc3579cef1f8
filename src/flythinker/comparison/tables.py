"""Rows of what was measured: seeds pooled, each entry against the best baseline."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from flythinker.comparison.config import CompareSection
from flythinker.comparison.pooled import by_entry, losses_of, over_users, paired, pool
from flythinker.comparison.run import TrialResult
from flythinker.data.example import Example
from flythinker.errors import FlyThinkerError
from flythinker.evaluation.compare import (
    METRICS,
    Measurements,
    compared,
    measure_texts,
    same_unit,
    verdict,
)
from flythinker.evaluation.segments import metrics_by_segment
from flythinker.methods.flythinker import FlyThinker
from flythinker.progress import track
from flythinker.scoring.losses import character_statistics, held_out_loss, loss_statistics
from flythinker.scoring.significance import paired_difference, ratio
from flythinker.training.run import run_tokenizer

logger = logging.getLogger(__name__)

SEGMENT = 100
"""Tokens of a segment of the response."""

Rows = list[dict[str, Any]]


def result_rows(
    measured: Sequence[TrialResult], examples: Sequence[Example], section: CompareSection
) -> Rows:
    """One JSON-able row per entry: `name`, `label`, `seeds` and `metrics`.

    Each cell of `metrics` has the fields of `compared` over all seeds together (a text's scores
    are summed over the seeds before texts are resampled), its difference over the seeds of both;
    `per_seed` values, their standard deviation `sd` (None for one seed), `against`, the label of
    the entry that `difference` is to (the best of those with the same tokens, for the loss a
    token), and `over_users`, the same difference with users resampled (None for fewer than 10).
    """
    references = [example.target for example in examples]
    apart: dict[str, list[Measurements]] = {}
    for result in track(measured, "Scoring texts"):
        scores = _measure(result, references, section.bert_model)
        apart.setdefault(result.trial.name, []).append(scores)
    return compared_rows(measured, apart, section, [example.user_id for example in examples])


def position_rows(
    measured: Sequence[TrialResult], examples: Sequence[Example], section: CompareSection
) -> list[dict[str, Any]]:
    """Held-out loss by segment: `start`, `end`, `n_examples` and `rows` as in `result_rows`.

    Entries with other tokens than the first are left out: their segments are other stretches.
    """
    lengths = [len(nats) for result in measured[:1] for nats in result.losses.get("own", [])]
    measured = [
        result
        for result in measured
        if "own" not in result.losses or [len(nats) for nats in result.losses["own"]] == lengths
    ]
    segments = []
    # the token that ends a response of full length would be a segment of its own
    longest = min(max(lengths, default=0), section.response_tokens)
    for start in range(0, longest, SEGMENT):
        reaching = [i for i, length in enumerate(lengths) if length > start]
        apart = {
            name: [losses_of(result, slice(start, start + SEGMENT), reaching) for result in group]
            for name, group in by_entry(measured).items()
        }
        segments.append(
            {
                "start": start,
                "end": start + SEGMENT,
                "n_examples": len(reaching),
                "rows": compared_rows(
                    measured, apart, section, [examples[i].user_id for i in reaching]
                ),
            }
        )
    return segments


def segment_rows(
    measured: Sequence[TrialResult],
    references: Sequence[str],
    section: CompareSection,
) -> list[dict[str, Any]]:
    """Text metrics by segment, in the form of `position_rows`.

    Texts are cut by the tokenizer of an entry; if its model is not at hand, there are no segments.
    """
    written = [result for result in measured if result.texts is not None]
    if not written:
        return []
    try:
        tokenizer = run_tokenizer(written[0].trial.config)
    except FlyThinkerError as error:
        logger.warning("texts are not cut into segments: %s", error)
        return []
    by_trial = {
        result.trial.id: metrics_by_segment(
            result.texts or [],
            references,
            tokenizer,
            SEGMENT,
            section.response_tokens,
            section.bert_model,
        )
        for result in track(written, "Scoring segments")
    }
    segments = []
    for i, first in enumerate(next(iter(by_trial.values()), [])):
        apart = {
            name: [by_trial[result.trial.id][i].measured for result in group]
            for name, group in by_entry(written).items()
        }
        segments.append(
            {
                "start": first.start,
                "end": first.end,
                "n_examples": first.n_examples,
                "rows": compared_rows(written, apart, section),
            }
        )
    return segments


def personal_rows(measured: Sequence[TrialResult]) -> Rows:
    """What a user's own history is worth: own minus swapped and own minus none, nats/token.

    One row per entry that was measured with all three: `own`, and for "swapped" and "none" an
    `Interval` as a dict with its `verdict` (negative = the own history helps = "better").
    """
    rows = []
    for name, group in by_entry(measured).items():
        group = [result for result in group if {"own", "swapped", "none"} <= result.losses.keys()]
        if not group:
            continue
        sums = {
            history: np.sum([loss_statistics(result.losses[history]) for result in group], axis=0)
            for history in ("own", "swapped", "none")
        }
        row: dict[str, Any] = {"name": name, "label": group[0].trial.label, "seeds": _seeds(group)}
        row["own"] = ratio(sums["own"].sum(axis=0))
        for history in ("swapped", "none"):
            difference = paired_difference(sums["own"], sums[history])
            row[history] = asdict(difference) | {
                "verdict": verdict("loss", difference, len(sums["own"]))
            }
        rows.append(row)
    return rows


def against_rows(measured: Sequence[TrialResult], examples: Sequence[Example]) -> Rows:
    """Held-out loss of every entry minus that of each trained baseline, nats/token.

    One row per entry: `name`, `label` and `against`, by the label of the baseline (every trained
    entry that is not FlyThinker, has the same tokens and a seed in common): an `Interval` as a dict
    over the seeds of both together with its `verdict`, `over_users` as in `result_rows`, `per_seed`
    (the difference by seed) and `lower`, the share of texts whose loss is lower.
    """
    groups = {
        name: [result for result in group if "own" in result.losses]
        for name, group in by_entry(measured).items()
        if any("own" in result.losses for result in group)
    }
    users = [example.user_id for example in examples]
    apart = {
        name: [losses_of(result, slice(None), range(len(users))) for result in group]
        for name, group in groups.items()
    }
    baselines = [
        name
        for name, group in groups.items()
        if group[0].trial.method.trains and not issubclass(group[0].trial.method, FlyThinker)
    ]
    return [
        {
            "name": name,
            "label": group[0].trial.label,
            "against": {
                groups[other][0].trial.label: cell
                for other in baselines
                if other != name
                and same_unit("loss", apart[name][0]["loss"][0], apart[other][0]["loss"][0])
                and (cell := _loss_against(apart[name], apart[other], group, groups[other], users))
            },
        }
        for name, group in groups.items()
    ]


def _loss_against(
    apart: Sequence[Measurements],
    apart_baseline: Sequence[Measurements],
    group: Sequence[TrialResult],
    other: Sequence[TrialResult],
    users: Sequence[str],
) -> dict[str, Any] | None:
    pooled, baseline = paired(apart, apart_baseline, group, other)
    if not pooled:
        return None
    ours, theirs = pooled["loss"][0], baseline["loss"][0]
    difference = paired_difference(ours, theirs)
    by_seed = {result.trial.seed: held_out_loss(result.losses["own"]) for result in other}
    lower = ours[:, 0] / ours[:, 1] < theirs[:, 0] / theirs[:, 1]
    return asdict(difference) | {
        "verdict": verdict("loss", difference, len(users)),
        "over_users": over_users("loss", pooled, baseline, users),
        "per_seed": {
            str(result.trial.seed): held_out_loss(result.losses["own"]) - by_seed[result.trial.seed]
            for result in group
            if result.trial.seed in by_seed
        },
        "lower": float(lower.mean()),
    }


def best_baseline(
    pooled: dict[str, Measurements], candidates: Sequence[str], metric: str
) -> str | None:
    """The candidate with the best value of a metric that has a better direction."""
    values = {
        name: pooled[name][metric][1](pooled[name][metric][0].sum(axis=0)) for name in candidates
    }
    if not values or METRICS[metric].better is None:
        return None
    choose = min if METRICS[metric].better == "lower" else max
    return choose(values, key=lambda name: values[name])


def compared_rows(
    measured: Sequence[TrialResult],
    apart: dict[str, list[Measurements]],
    section: CompareSection,
    users: Sequence[str] = (),
) -> Rows:
    """The rows that `result_rows` describes, of the measurements of each entry's seeds."""
    groups = by_entry(measured)
    pooled = {name: pool(seeds) for name, seeds in apart.items()}
    baselines = [
        name for name, group in groups.items() if not issubclass(group[0].trial.method, FlyThinker)
    ]
    rows = []
    for name, group in groups.items():
        metrics = {}
        for metric in pooled[name]:
            alike = [
                baseline
                for baseline in baselines
                if metric in pooled[baseline]
                and same_unit(metric, apart[name][0][metric][0], apart[baseline][0][metric][0])
            ]
            other = section.baseline or best_baseline(pooled, alike, metric)
            ours: Measurements = {}
            theirs: Measurements = {}
            if other is not None and other in groups and other != name:
                ours, theirs = paired(apart[name], apart[other], group, groups[other])
            statistics = [seed[metric] for seed in apart[name]]
            values = [float(estimate(rows.sum(axis=0))) for rows, estimate in statistics]
            cell = compared(metric, pooled[name], {})
            if metric in ours and metric in theirs:
                difference = compared(metric, ours, theirs)
                cell |= {key: difference[key] for key in ("difference", "verdict")}
            metrics[metric] = cell | {
                "per_seed": values,
                "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
                "against": groups[other][0].trial.label if other in groups else None,
                "over_users": None
                if cell["difference"] is None
                else over_users(metric, ours, theirs, users),
            }
        label = group[0].trial.label
        rows.append({"name": name, "label": label, "seeds": _seeds(group), "metrics": metrics})
    return rows


def _seeds(group: Sequence[TrialResult]) -> list[int]:
    return [result.trial.seed for result in group]


def _measure(
    result: TrialResult, references: Sequence[str], bert_model: str | None
) -> Measurements:
    measurements = losses_of(result, slice(None), range(len(references)))
    if "own" in result.losses and result.characters is not None:
        statistics = character_statistics(result.losses["own"], result.characters)
        measurements["character_loss"] = statistics, ratio
    if result.texts is not None:
        measurements |= measure_texts(result.texts, references, bert_model)
    return measurements
