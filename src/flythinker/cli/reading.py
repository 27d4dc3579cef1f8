"""Options of the commands that read people's own texts, and how these say what came of it."""

from collections import Counter
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
SHOWN = 20
"""So many files are named in full."""


def reading_of(strict: bool, day_first: bool | None, senders: list[str] | None) -> "Reading":
    """The settings of an import, as the options give them."""
    from flythinker.data.sources.reading import Reading

    return Reading(strict, day_first, tuple(address.lower() for address in senders or ()))


def print_reading(reading: "Reading") -> None:
    """On standard error: what was read, languages, dates; what was skipped or assumed, and why."""
    from flythinker.data.language import language_of
    from flythinker.data.words import count_words

    console = Console(stderr=True, soft_wrap=True, highlight=False)
    table = Table("read", "texts", "words", "languages")
    table.add_column("dates", no_wrap=True)
    for kind, documents in sorted(reading.documents.items()):
        dates = sorted(document.date for document in documents if document.date)
        undated = sum(not document.date for document in documents)
        parts = [f"{dates[0]} to {dates[-1]}"] if dates else []
        parts += [f"{undated} without"] if undated else []
        words = sum(count_words(document.text) for document in documents)
        spoken = Counter(language_of(document.text) or "unclear" for document in documents)
        languages = ", ".join(f"{name} {count}" for name, count in spoken.most_common(5))
        table.add_row(kind, str(len(documents)), str(words), languages, ", ".join(parts))
    if reading.documents:
        console.print(table)
    print_problems(reading)


def print_problems(reading: "Reading") -> None:
    """On standard error: what was skipped, left out or assumed, and why."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    for title, remarks in (("skipped", reading.skipped), ("note", reading.remarks)):
        for remark in remarks[:SHOWN]:
            console.print(f"{title}: {remark.where}: {remark.what}", markup=False)
        if len(remarks) > SHOWN:
            console.print(f"{title}: {len(remarks) - SHOWN} more")
    for title, counts in (("left out", reading.left_out), ("assumed", reading.assumed)):
        for what, count in sorted(counts.items()):
            times = f" ({count} times)" if count > 1 else ""
            console.print(f"{title}: {what}{times}", markup=False)
