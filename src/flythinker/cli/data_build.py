"""`flythinker data build`: from sources of texts to a folder to train on."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from flythinker.cli.describe import print_descriptions
from flythinker.cli.reading import DayFirst, Senders, Strict, print_reading, reading_of
from flythinker.data.check import describe
from flythinker.data.example import Example, sample_examples
from flythinker.data.folder import examples_from_documents, read_users
from flythinker.data.longlamp import LongLampConfig, build_longlamp
from flythinker.data.novels import build_novels
from flythinker.data.sotu import SotuSplit, build_sotu
from flythinker.data.table import read_table
from flythinker.data.write_corpus import least_corpus_bytes, write_corpus
from flythinker.disk import require_room

app = typer.Typer(no_args_is_help=True, help="Write train, val and test files from a source.")

Out = Annotated[
    Path, typer.Option(help="Folder for documents.parquet, train.jsonl, val.jsonl, test.jsonl.")
]
Limit = Annotated[int | None, typer.Option(help="Only so many examples a file, a fixed sample.")]


@app.command("sotu", epilog="Example: flythinker data build sotu --out data/sotu")
def build_sotu_files(
    out: Out,
    split: Annotated[SotuSplit, typer.Option(help="Hold out later texts, or users.")] = "temporal",
    seed: Annotated[int, typer.Option(help="Of the draw of held-out users.")] = 0,
    limit: Limit = None,
) -> None:
    """Addresses of the US presidents (needs the package sotu)."""
    _write(out, build_sotu(split, seed), limit)


@app.command(
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


@app.command("folder", epilog="Example: flythinker data build folder --path my-texts --out data/me")
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


@app.command(
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
    authors: Annotated[
        int | None, typer.Option(min=1, help="Only so many authors, a fixed sample.")
    ] = None,
) -> None:
    """Novels: each author's last book is held out, earlier books are history."""
    _write(out, build_novels(path, history, authors), limit)


@app.command(
    "documents",
    epilog="Example: flythinker data build documents --path writings.parquet --out data/all",
)
def build_document_files(
    out: Out,
    path: Annotated[
        Path, typer.Option(help="Table of user, text, title, date: .parquet, .jsonl, .json, .csv.")
    ],
    limit: Limit = None,
) -> None:
    """Texts of many people in one table, by the recipe of `folder`."""
    _write(out, examples_from_documents(read_table(path)), limit)


def _write(out: Path, splits: Mapping[str, Sequence[Example]], limit: int | None) -> None:
    files = {f"{name}.jsonl": sample_examples(e, limit) for name, e in splits.items()}
    least = sum(map(least_corpus_bytes, files.values()))
    require_room(out, least, advice="choose another --out")
    write_corpus(out, files)
    print_descriptions({str(out / name): describe(e) for name, e in files.items()})
