"""The parts of a comparison's report that put differences into tables."""

from collections.abc import Sequence
from typing import Any

from flythinker.comparison.cells import marked_cell, metric_cell
from flythinker.comparison.run import TrialResult
from flythinker.comparison.tables import Rows
from flythinker.evaluation.compare import METRICS
from flythinker.reporting import plots
from flythinker.reporting.format import format_difference, format_interval, format_value
from flythinker.reporting.page import Cell, Figure, Section, Table, in_colours


def against_section(rows: Rows) -> Section | None:
    """`against_rows` as a part of a report; None without a trained baseline to compare to."""
    columns = list(dict.fromkeys(label for row in rows for label in row["against"]))
    if not columns:
        return None

    def cell(difference: dict[str, Any] | None) -> Cell:
        if difference is None:
            return Cell("–")
        notes = [f"texts {format_interval(difference, 'loss')}"]
        if difference["over_users"] is not None:
            notes.append(f"users {format_interval(difference['over_users'], 'loss')}")
        notes.append(f"lower in {difference['lower']:.0%}")
        if len(difference["per_seed"]) > 1:
            seeds = difference["per_seed"].values()
            notes.append("seeds " + ", ".join(format_value(seed, "loss") for seed in seeds))
        certain = difference["over_users"] or difference
        text = format_difference(difference, "loss")
        return marked_cell(text, "; ".join(notes), certain["verdict"])

    lines = [(row["label"], [cell(row["against"].get(label)) for label in columns]) for row in rows]
    return Section(
        "Against every baseline",
        "Held-out loss (nats/token) minus the baseline's, over the seeds of both. Intervals are "
        "95 %, from resampling texts and from resampling whole users, whose texts are alike; ✓ and "
        "✗ go by users where there are ten or more.",
        [Table(["", *(f"− {label}" for label in columns)], lines)],
    )


def along_section(
    title: str, segments: Sequence[dict[str, Any]], metrics: list[str]
) -> Section | None:
    """`position_rows` or `segment_rows` as tables and curves; None without segments."""
    if not segments:
        return None
    rows = segments[0]["rows"]
    legend = in_colours(row["label"] for row in rows)
    tables, figures = [], []
    for metric in [m for m in metrics if any(m in row["metrics"] for row in rows)]:
        columns = [f"{s['start']}-{s['end']} ({s['n_examples']} texts)" for s in segments]
        lines = [
            (
                row["label"],
                [
                    metric_cell(segment["rows"][i]["metrics"].get(metric), metric)
                    for segment in segments
                ],
            )
            for i, row in enumerate(rows)
        ]
        curves = [
            [
                {"start": s["start"], "end": s["end"], "metrics": s["rows"][i]["metrics"]}
                for s in segments
                if metric in s["rows"][i]["metrics"]
            ]
            for i in range(len(rows))
        ]
        label = METRICS[metric].label
        tables.append(Table([label, *columns], lines, title=label if len(metrics) > 1 else ""))
        figures.append(Figure(plots.segment_curves(curves, metric), label))
    note = (
        "By position in the response, in tokens. Later segments hold fewer and other texts: "
        "compare entries within a segment. A written text that ended before a segment scores 0 in "
        "it."
    )
    return Section(title, note, tables, figures, legend)


def personal_section(rows: Rows) -> Section | None:
    """`personal_rows` as a part of a report; None where nothing was swapped."""
    if not rows:
        return None

    def cell(difference: dict[str, Any]) -> Cell:
        text = format_difference(difference, "loss")
        return marked_cell(text, format_interval(difference, "loss"), difference["verdict"])

    lines = [
        (
            row["label"],
            [Cell(format_value(row["own"], "loss")), cell(row["swapped"]), cell(row["none"])],
        )
        for row in rows
    ]
    columns = ["", "Loss, own history", "own − another user's", "own − none"]
    return Section(
        "Is it personal?",
        "Held-out loss (nats/token) with the user's own past texts, minus the loss with another "
        "user's and with none. Below 0: the own history helps. More training alone does not show "
        "here.",
        [Table(columns, lines)],
    )


def attribution_section(
    data: dict[str, Any] | None, measured: Sequence[TrialResult]
) -> Section | None:
    """What `attribution` returned as a part of a report; None without written texts."""
    if data is None:
        return None
    labels = {
        result.trial.id: f"{result.trial.label}, seed {result.trial.seed}" for result in measured
    }
    judged = {"The users' own texts": data["real"]} | data["methods"]
    lines = []
    for name, scores in judged.items():
        cells = [
            Cell(
                f"{scores[key]['value']:.3f}",
                f"[{scores[key]['low']:.3f}, {scores[key]['high']:.3f}]",
            )
            for key in ("accuracy", "probability", "rank")
        ]
        lines.append((labels.get(name, name), cells))
    return Section(
        "Whose text does it resemble?",
        f"A classifier trained on {data['train_texts']} real past texts of {data['users']} users "
        "names the author of each written text. It also goes by the subject, so it knows the "
        f"users' own texts at best; always naming the commonest user is right {data['chance']:.2f} "
        "of the time.",
        [Table(["", "Accuracy ↑", "Probability of the user ↑", "Rank of the user ↓"], lines)],
    )
