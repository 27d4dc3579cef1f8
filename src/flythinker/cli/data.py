"""`flythinker data build | check | stats`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from flythinker.cli.options import Json
from flythinker.cli.reading import DayFirst, Senders, Strict, print_reading, reading_of
from flythinker.data.check import check_example, describe
from flythinker.data.example import (
    Example,
    iterate_examples,
    least_bytes,
    read_examples,
    sample_examples,
    write_examples,
)
from flythinker.data.folder import examples_from_documents, read_users
from flythinker.data.longlamp import LongLampConfig, build_longlamp
from flythinker.data.novels import build_novels
from flythinker.data.sotu import SotuSplit, build_sotu
from flythinker.disk import require_room
from flythinker.errors import FlyThinkerError
from flythinker.progress import track

app = typer.Typer(no_args_is_help=True, help="Build, check and describe data files.")
build = typer.Typer(no_args_is_help=True, help="Write train, val and test files from a source.")
app.add_typer(build, name="build")

Out = Annotated[Path, typer.Option(help="Folder for train.jsonl, val.jsonl and test.jsonl.")]
Limit = Annotated[int | None, typer.Option(help="Only so many examples a file, a fixed sample.")]
Files = Annotated[list[Path], typer.Argument(help="Data files: .jsonl, .json, .csv, .parquet.")]


@build.command("sotu", epilog="Example: flythinker data build sotu --out data/sotu")
def build_sotu_files(
    out: Out,
    split: Annotated[SotuSplit, typer.Option(help="Hold out later texts, or users.")] = "temporal",
    seed: Annotated[int, typer.Option(help="Of the draw of held-out users.")] = 0,
    limit: Limit = None,
) -> None:
    """Addresses of the US presidents (needs the package sotu)."""
    _write(out, build_sotu(split, seed), limit)


@build.command(
    "longlamp",
    epilog="Example: flythinker data build longlamp --config topic_writing_user --out data/topic",
)
def build_longlamp_files(
    out: Out,
    config: Annotated[LongLampConfig, typer.Option(help="Task and split of the users.")],
    path: Annotated[
        Path | None, typer.Option(help="Local files of the same fields; default: the hub.")
    ] = None,
    limit: Limit = None,
) -> None:
    """The LongLaMP benchmark, from the hub or from local files."""
    _write(out, build_longlamp(config, path), limit)


@build.command(
    "folder", epilog="Example: flythinker data build folder --path my-texts --out data/me"
)
def build_folder_files(
    out: Out,
    path: Annotated[Path, typer.Option(help="Your texts (docs/import.md), or users' folders.")],
    user: Annotated[
        str | None, typer.Option(help="Whose; default: each sub-folder is a user's.")
    ] = None,
    strict: Strict = False,
    day_first: DayFirst = None,
    senders: Senders = None,
) -> None:
    """Your own texts: each is asked for from the ones you wrote before it."""
    reading = reading_of(strict, day_first, senders)
    writings = read_users(path, user, reading)
    print_reading(reading)
    _write(out, examples_from_documents(writings), None)


@build.command(
    "novels", epilog="Example: flythinker data build novels --path novels.parquet --out data/novels"
)
def build_novels_files(
    out: Out,
    path: Annotated[
        Path,
        typer.Option(
            help="Parquet file of author, title, year, text; or folder of Author_Title_Year.txt."
        ),
    ],
    history: Annotated[int, typer.Option(min=1, help="Earlier passages an example holds.")] = 4,
    limit: Limit = None,
) -> None:
    """Novels: each author's last book is held out, earlier books are history."""
    _write(out, build_novels(path, history), limit)


@app.command(epilog="Example: flythinker data check data/sotu/*.jsonl")
def check(files: Files) -> None:
    """Name every problem, file and line; exit with 1 if there is one."""
    problems = 0
    for file in files:
        for line, example in iterate_examples(file):
            found = (
                [str(example)]
                if isinstance(example, FlyThinkerError)
                else [f"{file}:{line}: {problem}" for problem in check_example(example)]
            )
            for problem in found:
                typer.echo(problem, err=True)
            problems += len(found)
    if problems:
        typer.echo(f"{problems} problem{'s' if problems > 1 else ''}", err=True)
        raise typer.Exit(1)
    typer.echo("no problems")


@app.command(epilog="Example: flythinker data stats data/sotu/*.jsonl --json")
def stats(
    files: Files,
    as_json: Json = False,
) -> None:
    """Describe each file: examples, users, lengths of histories, queries and targets."""
    rows = {str(file): describe(read_examples(file)) for file in files}
    if as_json:
        typer.echo(json.dumps(rows))
    else:
        _print_table(rows)


def _write(out: Path, splits: Mapping[str, Sequence[Example]], limit: int | None) -> None:
    files = {out / f"{name}.jsonl": sample_examples(e, limit) for name, e in splits.items()}
    require_room(out, sum(map(least_bytes, files.values())), advice="choose another --out")
    for path, examples in files.items():
        write_examples(path, track(examples, f"Writing {path.name}", transient=True))
    _print_table({str(path): describe(examples) for path, examples in files.items()})


def _print_table(rows: Mapping[str, Mapping[str, float]]) -> None:
    """One column a file: paths are long, and there are few of them."""
    table = Table("")
    for path in rows:
        table.add_column(path, overflow="fold")
    for name in next(iter(rows.values())):
        table.add_row(name.replace("_", " "), *(f"{row[name]:g}" for row in rows.values()))
    Console().print(table)
