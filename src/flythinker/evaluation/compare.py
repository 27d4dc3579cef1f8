"""The comparison of methods: one list of plain rows that the CLI, the report and JSON share."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from flythinker.errors import FlyThinkerError
from flythinker.progress import track
from flythinker.scoring.losses import (
    character_statistics,
    difference_by_position,
    loss_by_position,
    loss_statistics,
)
from flythinker.scoring.metrics import bleu_from_statistics, bleu_statistics, text_metrics
from flythinker.scoring.significance import (
    Estimator,
    Interval,
    bootstrap,
    mean_statistics,
    paired_difference,
    ratio,
)


@dataclass
class MethodResult:
    """What one method did on the held-out examples, all in the examples' order."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    token_losses: list[NDArray[np.float32]] | None = None
    """Nats of each response token, one array per example; None: no held-out loss."""
    characters: list[int] | None = None
    """Of each response text whose tokens were measured; None: not known."""
    predictions: list[str] | None = None
    """One text per example; None: no text metrics."""
    training: list[dict[str, Any]] = field(default_factory=list)
    """The Trainer's `log_history`: entries with `step` and `loss` or `eval_loss`."""


@dataclass(frozen=True)
class Metric:
    """How a metric is shown, and which direction is good (None: neither)."""

    label: str
    better: Literal["lower", "higher"] | None
    decimals: int = 2
    unit: str = ""


METRICS = {
    "loss": Metric("Held-out loss", "lower", decimals=3, unit="nats/token"),
    "character_loss": Metric("Loss a character", "lower", decimals=4, unit="nats/character"),
    "rouge1": Metric("ROUGE-1", "higher"),
    "rouge2": Metric("ROUGE-2", "higher"),
    "rougeL": Metric("ROUGE-L", "higher"),
    "corpus_bleu": Metric("BLEU", "higher", unit="corpus"),
    "bleu": Metric("Sentence BLEU", "higher", unit="mean"),
    "meteor": Metric("METEOR", "higher"),
    "bertscore": Metric("BERTScore", "higher"),
    "length": Metric("Length", None, decimals=0, unit="words"),
}

MIN_EXAMPLES = 10
"""Fewer examples than this get no verdict: a bootstrap of so few is far too sure of itself."""

Measurements = dict[str, tuple[NDArray, Estimator]]
"""For each metric its per-example statistics [n, k] and what turns their sum into the number."""


def compare(
    results: Sequence[MethodResult],
    references: Sequence[str],
    baseline: str,
    bert_model: str | None = None,
) -> list[dict[str, Any]]:
    """Every metric of every method, with its difference to the method named `baseline`.

    Returns one JSON-able row per method, in the order given: `name`, `is_baseline`, `examples`,
    `empty_predictions` (None without predictions) and `metrics`, which maps the keys of `METRICS`
    that could be measured to `value`, `low`, `high`, `difference` and `verdict`. `difference` (an
    `Interval` as a dict: 95 %, paired bootstrap) and `verdict` ("better", "worse", "unclear", or
    "neutral" where no direction is good) are None for the baseline, and where it lacks the metric
    or was measured on other tokens (`same_unit`): between tokenizers losses compare by character.
    `bert_model` is the encoder of BERTScore, see `text_metrics`.

    Raises `FlyThinkerError` for an unknown baseline, doubled names, results that are not about
    the same examples and texts, or a `bert_model` that cannot be loaded.
    """
    _check(results, references, baseline)
    measured = {
        result.name: _measure(result, references, bert_model)
        for result in track(results, "Scoring texts", transient=True)
    }
    return [
        {
            "name": result.name,
            "is_baseline": result.name == baseline,
            "examples": len(references),
            "empty_predictions": _count_empty(result.predictions),
            "metrics": {
                metric: compared(metric, measured[result.name], measured[baseline])
                for metric in measured[result.name]
            },
        }
        for result in results
    ]


def compare_positions(
    results: Sequence[MethodResult], baseline: str
) -> dict[str, list[dict[str, Any]]]:
    """Held-out loss along the response, by method: `PositionLoss` fields of each segment.

    `difference` and `verdict` as in `compare`, which has checked the same `results` before; a
    segment of another tokenizer's tokens is another stretch of text, so it has neither.
    """
    losses = {r.name: r.token_losses for r in results if r.token_losses is not None}
    counts = {r.name: _token_counts(r) for r in results}
    curves = {}
    for name, nats in losses.items():
        curve = [
            segment._asdict() | {"difference": None, "verdict": None}
            for segment in loss_by_position(nats)
        ]
        if name != baseline and baseline in losses and counts[name] == counts[baseline]:
            differences = difference_by_position(nats, losses[baseline])
            for segment, difference in zip(curve, differences, strict=True):
                segment["difference"] = asdict(difference)
                segment["verdict"] = verdict("loss", difference, segment["n_examples"])
        curves[name] = curve
    return curves


def measure_texts(
    predictions: Sequence[str], references: Sequence[str], bert_model: str | None = None
) -> Measurements:
    """Every text metric of `METRICS` that can be measured here, in their order."""
    scores = text_metrics(predictions, references, bert_model)
    measured: Measurements = {
        metric: (mean_statistics(values), ratio) for metric, values in scores.items()
    }
    measured["corpus_bleu"] = bleu_statistics(predictions, references), bleu_from_statistics
    return {metric: measured[metric] for metric in METRICS if metric in measured}


def compared(metric: str, measured: Measurements, baseline: Measurements) -> dict[str, Any]:
    """One cell of `compare`: a value with its interval and its difference to the baseline's."""
    statistics, estimator = measured[metric]
    cell = asdict(bootstrap(statistics, estimator)) | {"difference": None, "verdict": None}
    other = baseline.get(metric)
    if measured is not baseline and other is not None and same_unit(metric, statistics, other[0]):
        difference = paired_difference(statistics, other[0], estimator)
        cell["difference"] = asdict(difference)
        cell["verdict"] = verdict(metric, difference, len(statistics))
    return cell


def same_unit(metric: str, statistics: NDArray, other: NDArray) -> bool:
    """Whether a metric's statistics [n, k] are about the same tokens, or characters, as `other`.

    Sums over seeds are, whatever their number. Metrics of whole texts always are.
    """
    if metric not in ("loss", "character_loss"):
        return True
    ours, theirs = statistics[:, 1], other[:, 1]
    return np.array_equal(ours * theirs.sum(), theirs * ours.sum())


def _measure(
    result: MethodResult, references: Sequence[str], bert_model: str | None
) -> Measurements:
    measured: Measurements = {}
    if result.token_losses is not None:
        measured["loss"] = loss_statistics(result.token_losses), ratio
        if result.characters is not None:
            statistics = character_statistics(result.token_losses, result.characters)
            measured["character_loss"] = statistics, ratio
    if result.predictions is not None:
        measured |= measure_texts(result.predictions, references, bert_model)
    return measured


def verdict(metric: str, difference: Interval, examples: int) -> str:
    """What a difference says: "better", "worse", "unclear", or "neutral" (no direction is good)."""
    better = METRICS[metric].better
    if better is None:
        return "neutral"
    if not difference.significant or examples < MIN_EXAMPLES:
        return "unclear"
    return "better" if (difference.difference > 0) == (better == "higher") else "worse"


def _count_empty(predictions: list[str] | None) -> int | None:
    return None if predictions is None else sum(not text.strip() for text in predictions)


def _check(results: Sequence[MethodResult], references: Sequence[str], baseline: str) -> None:
    names = [result.name for result in results]
    if not references:
        raise FlyThinkerError("there are no examples to evaluate on")
    if baseline not in names:
        raise FlyThinkerError(f"no result named {baseline!r} for a baseline; there are {names}")
    if len(set(names)) < len(names):
        raise FlyThinkerError(f"each result needs a name of its own, got {names}")
    for result in results:
        for what in ("predictions", "token_losses", "characters"):
            values = getattr(result, what)
            if values is not None and len(values) != len(references):
                raise FlyThinkerError(
                    f"{result.name}: {len(values)} {what} for {len(references)} examples; "
                    "evaluate every method on the same examples"
                )
    measured = [result for result in results if result.token_losses is not None]
    for result in measured[1:]:
        first = measured[0]
        if _token_counts(result) == _token_counts(first):
            continue
        if result.characters is None or result.characters != first.characters:
            raise FlyThinkerError(
                f"{first.name} and {result.name} measured different tokens; they compare only "
                "with the same tokenizer and response budget, or by character where no response "
                "was cut to its budget (prompt.response_tokens)"
            )


def _token_counts(result: MethodResult) -> list[int]:
    return [len(nats) for nats in result.token_losses or []]
