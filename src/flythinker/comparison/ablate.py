"""Ablations: how the held-out loss depends on one setting at a time, a table and a plot each."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table as TerminalTable

from flythinker.comparison.config import CompareSection, Comparison, make_comparison, read_section
from flythinker.comparison.efficiency import efficiency_section, read_efficiency
from flythinker.comparison.run import TrialResult
from flythinker.comparison.tables import result_rows
from flythinker.data.example import Example
from flythinker.evaluation.evaluate import describe_environment
from flythinker.files import atomic_write
from flythinker.methods.registry import METHODS
from flythinker.reporting import plots
from flythinker.reporting.format import (
    SIGNS,
    format_change,
    format_difference,
    format_interval,
    format_value,
)
from flythinker.reporting.page import Cell, Figure, Section, Table, in_colours, write_page
from flythinker.yaml_config import build_section, check_keys


@dataclass
class Study:
    """One setting and the values that are tried.

    Attributes:
        points: what a value is called → the `section.key=value` overrides that set it. The first
            is what the others are compared to.
        methods: trained at every point; one line of the plot each.
    """

    points: dict[str, list[str]]
    methods: list[str] = field(default_factory=lambda: ["flythinker"])


@dataclass
class AblateSection:
    """The `ablate` section; what is not here is as in `CompareSection`.

    Attributes:
        studies: by title.
        set: overrides for all points, such as a shorter training.
    """

    test: str
    results: str
    studies: dict[str, dict[str, Any]]
    set: list[str] = field(default_factory=list)
    seed: int = 1
    examples: int | None = None
    response_tokens: int = 300
    loss_batch_size: int = 4


@dataclass(frozen=True)
class Ablation:
    """The studies and one comparison with all their points, each of them once."""

    studies: dict[str, Study]
    comparison: Comparison


def load_ablation(
    path: str | Path, overrides: Iterable[str] = (), only: Iterable[str] | None = None
) -> Ablation:
    """Read the `ablate` section of a config; `only` these studies.

    Raises `FlyThinkerError` as `load_comparison` does, and for an unknown study.
    """
    section, raw = read_section(path, overrides, "ablate", AblateSection)
    studies = {
        title: build_section(Study, values, f"{path}: ablate.studies.{title}")
        for title, values in section.studies.items()
    }
    if only is not None:
        wanted = list(only)
        check_keys(wanted, studies, "--only", "study")
        studies = {title: studies[title] for title in wanted}
    methods = {
        entry_name(method, point): {
            "method": method,
            "label": f"{METHODS[method].label}, {title}: {name}",
            "set": [*section.set, *point],
        }
        for title, study in studies.items()
        for method in study.methods
        for name, point in study.points.items()
    }
    compared = CompareSection(
        test=section.test,
        results=section.results,
        methods=dict(methods),
        seeds=[section.seed],
        examples=section.examples,
        response_tokens=section.response_tokens,
        loss_batch_size=section.loss_batch_size,
        measure=["loss"],
        keep_models=False,
    )
    return Ablation(studies, make_comparison(compared, raw, str(path)))


def entry_name(method: str, overrides: Sequence[str]) -> str:
    """The name of a point's results: studies share the points that are the same."""
    return "-".join([method, *(re.sub(r"[^\w.]+", "_", override) for override in overrides)])


def write_ablation(
    ablation: Ablation, measured: Sequence[TrialResult], examples: Sequence[Example], title: str
) -> dict[str, Any]:
    """Write `report.html`, `report.md` and `report.json` into the results folder.

    Returns the JSON file's data: `studies` by title, a list of lines with `method` and `points`
    (`point`, `loss` with `low` and `high`, `difference` to the first point and `verdict`), and
    `efficiency` (None where not measured).
    """
    section = ablation.comparison.section
    by_name = {result.trial.name: result for result in measured}
    studies = {
        name: [_line(method, study, by_name, examples, section) for method in study.methods]
        for name, study in ablation.studies.items()
    }
    data: dict[str, Any] = {
        "title": title,
        "examples": len(examples),
        "environment": describe_environment(),
        "studies": studies,
        "efficiency": read_efficiency(ablation.comparison),
    }
    page = ablation.comparison.page
    sections = [_section(name, lines) for name, lines in studies.items()]
    if data["efficiency"] is not None:
        sections.append(efficiency_section(data["efficiency"]))
    subtitle = f"Held-out loss (nats/token) on {len(examples)} texts, seed {section.seeds[0]}"
    write_page(page, title, subtitle, sections)
    with atomic_write(page.with_suffix(".json")) as file:
        json.dump(data, file, indent=1)
    return data


def study_table(title: str, lines: Sequence[dict[str, Any]]) -> TerminalTable:
    """One study for the terminal: a row per point."""
    table = TerminalTable(title=title)
    for column in ("method", "value", "held-out loss", "difference to the first"):
        table.add_column(column)
    for line in lines:
        for point in line["points"]:
            change = point["difference"]
            words = "" if change is None else format_change(change, "loss", point["verdict"])
            loss = format_value(point["value"], "loss")
            table.add_row(line["method"], point["point"], loss, words)
    return table


def _line(
    method: str,
    study: Study,
    by_name: dict[str, TrialResult],
    examples: Sequence[Example],
    section: CompareSection,
) -> dict[str, Any]:
    """One method over the points that are measured so far."""
    named = {point: entry_name(method, overrides) for point, overrides in study.points.items()}
    there = {point: by_name[name] for point, name in named.items() if name in by_name}
    if not there:
        return {"method": method, "points": []}
    first = named[next(iter(study.points))]
    section = CompareSection(
        section.test,
        section.results,
        section.methods,
        baseline=first if first in by_name else next(iter(there.values())).trial.name,
    )
    rows = result_rows(list(there.values()), examples, section)
    points = [
        {"point": point} | row["metrics"]["loss"] for point, row in zip(there, rows, strict=True)
    ]
    return {"method": METHODS[method].label, "points": points}


def _section(title: str, lines: list[dict[str, Any]]) -> Section:
    rows = []
    for line in lines:
        for point in line["points"]:
            cells = [Cell(format_value(point["value"], "loss"), format_interval(point, "loss"))]
            difference = point["difference"]
            if difference is None:
                cells.append(Cell("–"))
            else:
                note = f"{format_interval(difference, 'loss')} {SIGNS[point['verdict']]}"
                text = format_difference(difference, "loss")
                cells.append(Cell(text, note, point["verdict"]))
            rows.append((f"{line['method']}, {point['point']}", cells))
    columns = [title, "Held-out loss ↓", "Difference to the first"]
    figure = Figure(plots.point_curves([line["points"] for line in lines], title), title)
    return Section(
        title,
        tables=[Table(columns, rows)],
        figures=[figure] if rows else [],
        legend=in_colours(line["method"] for line in lines),
    )
