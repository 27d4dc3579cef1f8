"""The report of a comparison: what was measured so far as one page and one JSON object."""

import json
from collections.abc import Sequence
from typing import Any

from rich.table import Table as TerminalTable
from rich.text import Text as TerminalText

from flythinker.comparison.by_history import history_rows, history_section
from flythinker.comparison.cells import metric_cell, shown_value, sign
from flythinker.comparison.config import Comparison
from flythinker.comparison.curves import (
    curves_section,
    frontier,
    frontier_section,
    validation_curves,
)
from flythinker.comparison.efficiency import efficiency_section, read_efficiency
from flythinker.comparison.persons import person_rows, persons_section
from flythinker.comparison.run import TrialResult
from flythinker.comparison.sections import (
    against_section,
    along_section,
    attribution_section,
    personal_section,
)
from flythinker.comparison.tables import (
    Rows,
    against_rows,
    personal_rows,
    position_rows,
    result_rows,
    segment_rows,
)
from flythinker.data.example import Example
from flythinker.evaluation.attribution import attribution
from flythinker.evaluation.compare import METRICS
from flythinker.evaluation.evaluate import describe_environment
from flythinker.evaluation.segments import SEGMENT_METRICS
from flythinker.files import atomic_write
from flythinker.reporting.format import ARROWS, COLOURS, SIGNS
from flythinker.reporting.page import Cell, Section, Table, Text, facts, write_page
from flythinker.reporting.sections import choose_examples
from flythinker.training.summary import training_seconds

_SHOWN = (
    "loss",
    "character_loss",
    "rouge1",
    "rouge2",
    "rougeL",
    "corpus_bleu",
    "meteor",
    "bertscore",
    "length",
)


def write_comparison(
    comparison: Comparison, measured: Sequence[TrialResult], examples: Sequence[Example], title: str
) -> dict[str, Any]:
    """Write `report.html`, `report.md` and `report.json` into the results folder.

    Returns the data of the JSON file: `results`, `against`, `positions`, `segments`, `personal`
    (see `tables`), `histories` (see `by_history`), `persons` (see `persons`), `curves` and
    `frontier` (see `curves`),
    `attribution`, `efficiency` (None where not measured) and what ran.
    """
    section, references = comparison.section, [example.target for example in examples]
    written = {result.trial.id: result.texts for result in measured if result.texts is not None}
    data: dict[str, Any] = {
        "title": title,
        "examples": len(examples),
        "users": len({example.user_id for example in examples}),
        "environment": describe_environment(),
        "results": result_rows(measured, examples, section),
        "against": against_rows(measured, examples),
        "curves": validation_curves(measured),
        "positions": position_rows(measured, examples, section),
        "segments": segment_rows(measured, references, section),
        "histories": history_rows(measured, examples, section),
        "personal": personal_rows(measured),
        "persons": person_rows(measured),
        "attribution": attribution(written, examples) if written else None,
        "efficiency": read_efficiency(comparison),
        "trials": [_describe(result) for result in measured],
    }
    data["frontier"] = frontier(data["results"], data["against"], data["efficiency"])
    sections = [
        _results(data["results"]),
        against_section(data["against"]),
        curves_section(data["curves"]),
        frontier_section(data["frontier"]),
        along_section("Held-out loss along the text", data["positions"], ["loss"]),
        along_section("Texts along the text", data["segments"], list(SEGMENT_METRICS)),
        history_section(data["histories"]),
        personal_section(data["personal"]),
        persons_section(data["persons"]),
        attribution_section(data["attribution"], measured),
        data["efficiency"] and efficiency_section(data["efficiency"]),
        _texts(measured, examples),
        _settings(data["trials"], data["environment"]),
    ]
    subtitle = (
        f"{data['examples']} held-out texts by {data['users']} users; responses of up to "
        f"{section.response_tokens} tokens"
    )
    write_page(comparison.page, title, subtitle, [s for s in sections if s is not None])
    with atomic_write(comparison.page.with_suffix(".json")) as file:
        json.dump(data, file, indent=1)
    return data


def terminal_table(rows: Rows) -> TerminalTable:
    """The results for the terminal: a line per entry, a column per metric."""
    shown = _shown(rows)
    table = TerminalTable(caption="✓ better, ✗ worse, ≈ unclear against the best baseline (95 %)")
    for column in ("", *_labels(shown)):
        table.add_column(column)
    for row in rows:
        cells = []
        for metric in shown:
            cell = row["metrics"].get(metric)
            mark = SIGNS.get(sign(cell), "")
            text = "–" if cell is None else f"{shown_value(cell, metric)} {mark}"
            cells.append(TerminalText(text, style=COLOURS.get(sign(cell), "")))
        table.add_row(f"{row['label']} ({len(row['seeds'])})", *cells)
    return table


def _results(rows: Rows) -> Section:
    return Section(
        "Results",
        "Mean over seeds ± their standard deviation. Under it the difference to the best baseline "
        "(per metric, the best of all but FlyThinker) with its 95 % interval: paired bootstrap "
        "over texts, the seeds of an entry taken together. ✓ better, ✗ worse, ≈ unclear. The best "
        "of many is a little lucky, and nothing is corrected for the number of comparisons.",
        [Table(["", *_labels(_shown(rows))], [_line(row, _shown(rows)) for row in rows])],
    )


def _texts(measured: Sequence[TrialResult], examples: Sequence[Example]) -> Section | None:
    first = {result.trial.name: result for result in reversed(measured) if result.texts is not None}
    shown = [result for result in measured if first.get(result.trial.name) is result]
    if not shown:
        return None
    groups = []
    for i in choose_examples(examples):
        texts = [
            Text(result.trial.label, result.texts[i])
            for result in shown
            if result.texts is not None
        ]
        real = Text("What they wrote", examples[i].target, reference=True)
        groups.append((examples[i].user_id, examples[i].query, [real, *texts]))
    return Section(
        "Texts side by side",
        "Chosen by position in the data, of different users where possible, without looking at any "
        "output. The first seed of each entry.",
        texts=groups,
    )


def _settings(trials: Sequence[dict[str, Any]], environment: dict[str, str]) -> Section:
    lines = [
        (trial["label"], [Cell(str(trial["seed"])), Cell(trial["steps"]), Cell(trial["options"])])
        for trial in trials
    ]
    return Section(
        "What ran",
        tables=[Table(["", "Seed", "Training", "Options"], lines, plain=True)],
        facts=[facts("This report", environment)],
    )


def _describe(result: TrialResult) -> dict[str, Any]:
    history = result.training.get("log_history", [])
    seconds = training_seconds(history)
    steps = result.training.get("steps", 0)
    return {
        "name": result.trial.name,
        "label": result.trial.label,
        "seed": result.trial.seed,
        "steps": f"{steps} steps, {seconds / 60:.0f} min" if steps else "none",
        "options": ", ".join(f"{key} {value}" for key, value in result.trial.options.items())
        or "–",
    }


def _shown(rows: Rows) -> list[str]:
    return [metric for metric in _SHOWN if any(metric in row["metrics"] for row in rows)]


def _labels(metrics: Sequence[str]) -> list[str]:
    return [f"{METRICS[m].label} {ARROWS[METRICS[m].better]}".strip() for m in metrics]


def _line(row: dict[str, Any], metrics: Sequence[str]) -> tuple[str, list[Cell]]:
    seeds = len(row["seeds"])
    heading = f"{row['label']} ({seeds} seed{'s' if seeds > 1 else ''})"
    return heading, [metric_cell(row["metrics"].get(metric), metric) for metric in metrics]
