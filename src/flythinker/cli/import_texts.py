"""`flythinker import`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flythinker.cli.reading import DayFirst, Senders, Strict, print_reading, reading_of

app = typer.Typer()


@app.command(
    name="import",
    epilog="Example: flythinker import vault/ takeout.zip blog.xml --user me --out me.jsonl",
)
def import_texts(
    paths: Annotated[
        list[Path], typer.Argument(help="Folders, files and exports (docs/import.md).")
    ],
    out: Annotated[Path, typer.Option(help="JSONL file of past texts, one a line.")],
    user: Annotated[str, typer.Option(help="Whose texts these are.")] = "me",
    strict: Strict = False,
    day_first: DayFirst = None,
    senders: Senders = None,
) -> None:
    """Gather a person's past texts from whatever they are in, in one file."""
    from flythinker.data.example import write_documents
    from flythinker.data.sources.read import read_path
    from flythinker.errors import FlyThinkerError

    if out.suffix.lower() != ".jsonl":
        raise typer.BadParameter(f"--out {out}: give it the ending .jsonl")
    reading = reading_of(strict, day_first, senders)
    read = [document for path in paths for document in read_path(path, reading)]
    documents = sorted(dict.fromkeys(read), key=lambda document: document.date)
    print_reading(reading)
    if not documents:
        raise FlyThinkerError("there is no text to write; what was left out is named above")
    write_documents(out, documents)
    twice = len(read) - len(documents)
    again = f", {twice} that were there twice left out" if twice else ""
    Console().print(f"{user}: {len(documents)} texts in {out}{again}", highlight=False)
