"""Options of the commands that read people's own texts, and how these say what came of it."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from flythinker.data.sources.reading import Reading

Strict = Annotated[
    bool, typer.Option("--strict", help="Refuse what cannot be read, instead of skipping it.")
]
DayFirst = Annotated[
    bool | None,
    typer.Option(
        "--day-first/--month-first", help="How 01/05/2024 is meant; default: such dates are named."
    ),
]
Senders = Annotated[
    list[str] | None,
    typer.Option("--from", help="The person's address in mailboxes; may be repeated."),
]


def reading_of(strict: bool, day_first: bool | None, senders: list[str] | None) -> "Reading":
    """The settings of an import, as the options give them."""
    from flythinker.data.sources.reading import Reading

    return Reading(strict, day_first, tuple(address.lower() for address in senders or ()))


def print_reading(reading: "Reading") -> None:
    """On standard error: what was read, languages, dates; what was skipped or assumed, and why."""
    from flythinker.data.sources.summary import COLUMNS, summarize

    summary = summarize(reading)
    if summary.rows:
        table = Table(*COLUMNS[:-1])
        table.add_column(COLUMNS[-1], no_wrap=True)
        for row in summary.rows:
            table.add_row(*row)
        _console().print(table)
    _print_lines(summary.lines)


def print_problems(reading: "Reading") -> None:
    """On standard error: what was skipped, left out or assumed, and why."""
    from flythinker.data.sources.summary import summarize

    _print_lines(summarize(reading).lines)


def _print_lines(lines: list[str]) -> None:
    for line in lines:
        _console().print(line, markup=False)


def _console() -> Console:
    return Console(stderr=True, soft_wrap=True, highlight=False)
