"""What it costs to learn each person, where entries do (see `methods.oppu`)."""

from collections.abc import Sequence
from statistics import mean, median
from typing import Any

from flythinker.comparison.pooled import by_entry
from flythinker.comparison.run import TrialResult
from flythinker.comparison.tables import Rows
from flythinker.reporting.page import Cell, Section, Table


def person_rows(measured: Sequence[TrialResult]) -> Rows:
    """A row an entry that learns persons, over its seeds.

    Each has `label`, `persons` (how many), `texts` (learned from, the median person's), `seconds`
    (the mean person's) and `bytes` (of a person's adapter).
    """
    rows = []
    for group in by_entry(measured).values():
        costs = [result.training for result in group if "persons" in result.training]
        if costs:
            rows.append(
                {
                    "label": group[0].trial.label,
                    "persons": costs[0]["persons"],
                    "texts": median(n for cost in costs for n in cost["texts"]),
                    "seconds": mean(s for cost in costs for s in cost["seconds"]),
                    "bytes": costs[0]["bytes"],
                }
            )
    return rows


def persons_section(rows: Rows) -> Section | None:
    """`person_rows` as a part of a report; None where nobody was learned."""
    if not rows:
        return None
    lines: list[tuple[str, list[Cell]]] = [(row["label"], _cells(row)) for row in rows]
    return Section(
        "Learning each person",
        "Texts that a person's adapter learned from (the median), the time that took (the mean), "
        "and what is kept of it.",
        [Table(["", "Persons", "Texts", "Seconds a person", "kB a person"], lines, plain=True)],
    )


def _cells(row: dict[str, Any]) -> list[Cell]:
    return [
        Cell(str(row["persons"])),
        Cell(f"{row['texts']:.0f}"),
        Cell(f"{row['seconds']:.1f}"),
        Cell(f"{row['bytes'] / 1000:.0f}"),
    ]
