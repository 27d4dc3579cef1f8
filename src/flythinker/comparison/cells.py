"""How a figure of a comparison looks in a table, on a page and in the terminal."""

from typing import Any

from flythinker.reporting.format import SIGNS, format_change, format_value
from flythinker.reporting.page import Cell


def metric_cell(cell: dict[str, Any] | None, metric: str) -> Cell:
    """A value of `tables` with its difference to the best baseline under it; "–" for none."""
    if cell is None:
        return Cell("–")
    if cell["difference"] is None:
        return Cell(shown_value(cell, metric))
    note = format_change(cell["difference"], metric, cell["verdict"])
    return Cell(shown_value(cell, metric), note, cell["verdict"])


def marked_cell(text: str, note: str, verdict: str) -> Cell:
    """`text`, and under it `note` with the sign of the verdict."""
    return Cell(text, f"{note} {SIGNS[verdict]}".strip(), verdict)


def shown_value(cell: dict[str, Any], metric: str) -> str:
    """The mean, with ± the seeds' standard deviation where there are several."""
    value = format_value(cell["value"], metric)
    if cell["sd"] is None:
        return value
    return f"{value} ± {format_value(cell['sd'], metric)}".replace(" ", "\N{NO-BREAK SPACE}")


def sign(cell: dict[str, Any] | None) -> str:
    """The verdict of a value that is compared, else ""."""
    return "" if cell is None or cell["verdict"] is None else cell["verdict"]
