"""What is wrong with files of examples, and with the corpora that they refer to."""

from collections.abc import Iterator, Sequence
from functools import partial
from operator import itemgetter
from pathlib import Path

import numpy as np

from flythinker.data.check import check_documents, check_example
from flythinker.data.corpus import open_corpus
from flythinker.data.example import example_parser, iterate_examples, refers_to
from flythinker.data.lines import ExampleLines, read_line
from flythinker.data.processes import map_in_processes
from flythinker.errors import FlyThinkerError

Problem = tuple[int, str]
"""A line, and what is wrong with its example."""


def check_files(files: Sequence[Path]) -> Iterator[str]:
    """All problems of all files, each with its file and line.

    Those of documents come once, before the examples that refer to them.

    Raises:
        FlyThinkerError: no such file, or one of another kind.
    """
    checked: set[Path] = set()
    for file in files:
        documents = refers_to(file)
        if documents is not None and documents.resolve() not in checked:
            checked.add(documents.resolve())
            try:
                yield from check_documents(open_corpus(documents))
            except FlyThinkerError as error:
                yield str(error)
                continue
        by_user = documents is not None and file.suffix.lower() == ".jsonl"
        found = _problems_by_user(file) if by_user else _problems(file)
        yield from (problem for _, problem in sorted(found, key=itemgetter(0)))


def _problems(file: Path) -> Iterator[Problem]:
    for line, example in iterate_examples(file):
        if isinstance(example, FlyThinkerError):
            yield line, str(example)
        else:
            yield from ((line, f"{file}:{line}: {said}") for said in check_example(example))


def _problems_by_user(file: Path) -> Iterator[Problem]:
    """As `_problems`, one person after the other, so that each one's texts are read once."""
    malformed: list[Problem] = []
    lines = ExampleLines(file, malformed)
    yield from malformed
    order = np.argsort(lines.users, kind="stable")
    places = list(zip(lines.numbers[order].tolist(), lines.offsets[order].tolist(), strict=True))
    yield from map_in_processes(partial(_check_lines, file), places, f"Checking {file.name}")


def _check_lines(file: Path, places: Sequence[tuple[int, int]]) -> list[Problem]:
    """Problems of the examples at some lines, given with their first byte; in its own process."""
    problems: list[Problem] = []
    parse = example_parser(file)
    with file.open("rb") as handle:
        for number, offset in places:
            handle.seek(offset)
            where = f"{file}:{number}"
            example = read_line(handle.readline(), where, parse)
            problems += [(number, f"{where}: {said}") for said in check_example(example)]
    return problems
