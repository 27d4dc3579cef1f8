"""What a loss costs: validation loss by tokens read, and held-out loss by time per token."""

from collections.abc import Mapping, Sequence
from statistics import mean, median
from typing import Any

from flythinker.comparison.run import TrialResult
from flythinker.reporting import plots
from flythinker.reporting.format import format_value
from flythinker.reporting.page import Cell, Figure, Section, Table, in_colours

_NOTE = (
    "Loss on the validation texts while training, by the tokens read until then (padding not "
    "counted); means over the seeds."
)
_FRONTIER_NOTE = (
    "Held-out loss by the time of a token in writing (see Efficiency). The line joins the trained "
    "entries that are not FlyThinker and that none of the others beats in both: an entry under it "
    "is better than what they reach in its time."
)


def validation_curves(measured: Sequence[TrialResult]) -> list[dict[str, Any]]:
    """The curve of each entry that is trained: `label` and `points` of `tokens`, `step`, `loss`.

    The past of a model that an entry takes as it is does not count. `tokens` is None where the
    training did not count them. Seeds are averaged at the steps that all have.
    """
    measured = [result for result in measured if result.trial.method.trains]
    curves = []
    for name in dict.fromkeys(result.trial.name for result in measured):
        group = [result for result in measured if result.trial.name == name]
        logs = [_evaluations(result.training.get("log_history", [])) for result in group]
        steps = [step for step in logs[0] if all(step in log for log in logs)]
        points = [
            {
                "step": step,
                "tokens": logs[0][step].get("num_input_tokens_seen"),
                "loss": mean(log[step]["eval_loss"] for log in logs),
            }
            for step in steps
        ]
        if points:
            curves.append({"label": group[0].trial.label, "points": points})
    return curves


def curves_section(curves: Sequence[Mapping[str, Any]]) -> Section | None:
    """`validation_curves` as a part of a report."""
    if not curves:
        return None
    counted = all(point["tokens"] is not None for c in curves for point in c["points"])
    key = "tokens" if counted else "step"
    lines = [([p[key] for p in c["points"]], [p["loss"] for p in c["points"]]) for c in curves]
    steps = list(dict.fromkeys(point["step"] for c in curves for point in c["points"]))
    rows = []
    for curve in curves:
        losses = {point["step"]: format_value(point["loss"], "loss") for point in curve["points"]}
        rows.append((curve["label"], [Cell(losses.get(step, "–")) for step in steps]))
    caption = "Validation loss"
    return Section(
        "Loss while learning",
        _NOTE,
        tables=[Table(["after steps", *map(str, steps)], rows)],
        figures=[Figure(plots.curves(lines, "tokens read" if counted else "step"), caption)],
        legend=in_colours(curve["label"] for curve in curves),
    )


def frontier(
    rows: Sequence[Mapping[str, Any]],
    against: Sequence[Mapping[str, Any]],
    efficiency: Mapping[str, Any] | None,
) -> list[dict[str, Any]]:
    """The point of each entry whose time was measured: `label`, `milliseconds`, `loss`, `baseline`.

    Args:
        rows: what `result_rows` returns.
        against: what `against_rows` returns; its columns are the baselines.
        efficiency: what `read_efficiency` returns.
    """
    runs = efficiency["entries"] if efficiency is not None else {}
    baselines = {label for row in against for label in row["against"]}
    return [
        {
            "label": row["label"],
            "milliseconds": median(run["token_milliseconds"] for run in runs[row["label"]]),
            "loss": row["metrics"]["loss"]["value"],
            "baseline": row["label"] in baselines,
        }
        for row in rows
        if row["label"] in runs and "loss" in row["metrics"]
    ]


def frontier_section(points: Sequence[Mapping[str, Any]]) -> Section | None:
    """`frontier` as a part of a report."""
    if len(points) < 2:
        return None
    places = [(point["milliseconds"], point["loss"]) for point in points]
    best: list[tuple[float, float]] = []
    for place in sorted(place for place, p in zip(places, points, strict=True) if p["baseline"]):
        if not best or place[1] < best[-1][1]:
            best.append(place)
    rows = [
        (p["label"], [Cell(f"{p['milliseconds']:.2f}"), Cell(format_value(p["loss"], "loss"))])
        for p in points
    ]
    return Section(
        "Loss and time",
        _FRONTIER_NOTE,
        tables=[Table(["", "ms a token", "Held-out loss"], rows)],
        figures=[Figure(plots.frontier(places, best), "Held-out loss by time per token")],
        legend=in_colours(point["label"] for point in points),
    )


def _evaluations(history: Sequence[Mapping[str, Any]]) -> dict[int, Mapping[str, Any]]:
    return {entry["step"]: entry for entry in history if "eval_loss" in entry}
