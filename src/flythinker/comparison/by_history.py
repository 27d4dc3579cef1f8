"""Held-out loss by how much a user had written before: does more history help one entry more?"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from flythinker.comparison.cells import metric_cell
from flythinker.comparison.config import CompareSection
from flythinker.comparison.pooled import by_entry, losses_of
from flythinker.comparison.run import TrialResult
from flythinker.comparison.tables import compared_rows
from flythinker.data.example import Example
from flythinker.evaluation.compare import MIN_EXAMPLES
from flythinker.reporting.page import Section, Table


def history_rows(
    measured: Sequence[TrialResult], examples: Sequence[Example], section: CompareSection
) -> list[dict[str, Any]]:
    """The examples in thirds, by the number of past texts: the fewest first.

    Each third has `fewest` and `most` past texts, `n_examples` and `rows` as `result_rows` has
    them. Nothing where the examples are few, or nearly all have as many.
    """
    counts = np.array([len(example.history) for example in examples])
    thirds = np.array_split(np.argsort(counts, kind="stable"), 3)
    between = [counts[third[-1]] for third in thirds[:2] if len(third)]
    if len(examples) < 3 * MIN_EXAMPLES or len({0, *between, counts.max()}) < 4:
        return []
    return [
        {
            "fewest": int(counts[third].min()),
            "most": int(counts[third].max()),
            "n_examples": len(third),
            "rows": compared_rows(
                measured,
                {
                    name: [losses_of(result, slice(None), third.tolist()) for result in group]
                    for name, group in by_entry(measured).items()
                },
                section,
                [examples[i].user_id for i in third],
            ),
        }
        for third in thirds
    ]


def history_section(thirds: Sequence[dict[str, Any]]) -> Section | None:
    """`history_rows` as a part of a report."""
    if not any(row["metrics"] for third in thirds for row in third["rows"]):
        return None
    columns = [f"{t['fewest']}-{t['most']} ({t['n_examples']} texts)" for t in thirds]
    lines = [
        (
            row["label"],
            [metric_cell(third["rows"][i]["metrics"].get("loss"), "loss") for third in thirds],
        )
        for i, row in enumerate(thirds[0]["rows"])
    ]
    return Section(
        "Held-out loss by the amount of history",
        "Thirds of the examples, by how many texts the user had written before. The thirds are of "
        "other users and other times: compare entries within a third.",
        [Table(["Past texts", *columns], lines)],
    )
