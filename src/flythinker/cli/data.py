"""`flythinker data build | check | stats | export | store`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from flythinker.cli import data_build
from flythinker.cli.describe import print_descriptions
from flythinker.cli.options import Json
from flythinker.data.check import describe
from flythinker.data.check_files import check_files
from flythinker.data.example import (
    least_bytes,
    read_examples,
    stream_examples,
    write_examples,
)
from flythinker.data.write_corpus import write_corpus
from flythinker.disk import require_room
from flythinker.progress import track

app = typer.Typer(no_args_is_help=True, help="Build, check, describe and convert data files.")
app.add_typer(data_build.app, name="build")

Files = Annotated[list[Path], typer.Argument(help="Data files: .jsonl, .json, .csv, .parquet.")]


@app.command(epilog="Example: flythinker data check data/sotu/*.jsonl")
def check(files: Files) -> None:
    """Name every problem, file and line; exit with 1 if there is one."""
    problems = 0
    for problem in check_files(files):
        typer.echo(problem, err=True)
        problems += 1
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
    rows = {str(file): describe(stream_examples(file)) for file in files}
    if as_json:
        typer.echo(json.dumps(rows))
    else:
        print_descriptions(rows)


@app.command(epilog="Example: flythinker data export data/sotu/*.jsonl --out data/sotu-whole")
def export(
    files: Files,
    out: Annotated[Path, typer.Option(help="Folder for the files, whose names stay.")],
) -> None:
    """Write files in which every example holds its whole history: to be read by anything."""
    targets = _targets(files, out)
    require_room(out, sum(least_bytes(stream_examples(file)) for file in files))
    for file, target in targets.items():
        write_examples(target, track(stream_examples(file), f"Writing {target}", transient=True))
        typer.echo(str(target))


@app.command(epilog="Example: flythinker data store mine/*.jsonl --out data/mine")
def store(
    files: Files,
    out: Annotated[Path, typer.Option(help="Folder for documents.parquet and the files.")],
) -> None:
    """Store every document once, in documents.parquet, and let the examples refer to it."""
    targets = _targets(files, out)
    write_corpus(out, {target.name: read_examples(file) for file, target in targets.items()})
    for name in ("documents.parquet", *(target.name for target in targets.values())):
        typer.echo(str(out / name))


def _targets(files: list[Path], out: Path) -> dict[Path, Path]:
    """The file in `out` that each file is written to, none of which is one of `files`."""
    targets = {file: out / f"{file.stem}.jsonl" for file in files}
    names = [target.name for target in targets.values()]
    for file, target in targets.items():
        if names.count(target.name) > 1:
            raise typer.BadParameter(f"two files would be written to {target}")
        if target.resolve() == file.resolve():
            raise typer.BadParameter(f"--out {out}: {file} is in it; choose another folder")
    return targets
