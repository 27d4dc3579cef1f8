"""Novels by author: earlier books as history, each author's last book held out.

A parquet file of `author`, `title`, `year`, `text`, or a folder of `Author_Title_Year.txt`, as in
public collections of novels. The recipe is that of `passages`, with shorter passages and a history
that is a fixed sample of earlier books: whole ones would be thousands of passages an example.
"""

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flythinker.data.example import Document, Example
from flythinker.data.passages import Passage, ask_for, cut_passages, topic_words
from flythinker.data.typography import plain_letters
from flythinker.errors import FlyThinkerError

MIN_WORDS, MAX_WORDS = 140, 240
OUTER = 2  # passages at both ends of a book that are left out: title page, contents
MIN_YEARS = 3  # of an author: something to read, something to train on, something held out
VALIDATION_PASSAGES, TEST_PASSAGES = 6, 12  # an author: each counts the same

_COLUMNS = ("author", "title", "year", "text")


@dataclass(frozen=True, slots=True)
class _Book:
    document: Document
    passages: list[Passage]


def build_novels(
    path: str | Path, history: int = 4, authors: int | None = None
) -> dict[str, list[Example]]:
    """Build the splits `train`, `val` and `test`.

    Of an author with books of three years or more, the last book is held out: `val` are passages of
    its first third, `test` of the rest, evenly spread. `train` are the passages of all others that
    have an earlier one. A history holds passages of books of earlier years, never of the same book.

    Args:
        path: see `read_novels`.
        history: passages in an example's history, drawn by author, book and place in it.
        authors: only so many of them, a fixed sample; the examples of each are the same.

    Raises:
        FlyThinkerError: see `read_novels`, or no author has books of three years.
    """
    splits: dict[str, list[Example]] = {"train": [], "val": [], "test": []}
    novels = read_novels(path)
    names = [
        author
        for author in sorted(novels)
        if len({book.date for book in novels[author]}) >= MIN_YEARS
    ]
    if authors is not None:
        names = sorted(random.Random(0).sample(names, min(authors, len(names))))
    for author in names:
        books = sorted(novels[author], key=lambda book: (book.date, book.title))
        by_book = list(_examples(author, [_cut(book) for book in books], history))
        last = by_book.pop()
        third = len(last) // 3
        splits["train"] += [example for examples in by_book for example in examples]
        splits["val"] += _spread(last[:third], VALIDATION_PASSAGES)
        splits["test"] += _spread(last[third:], TEST_PASSAGES)
    if not splits["train"]:
        raise FlyThinkerError(
            f"{path}: nothing to learn from: no author has books of {MIN_YEARS} different years"
        )
    return splits


def read_novels(path: str | Path) -> dict[str, list[Document]]:
    """Read the books of every author from a parquet file or a folder of `Author_Title_Year.txt`.

    Raises:
        FlyThinkerError: no such path, a missing column, an empty text or a bad year, naming the
            row and column, or the file.
    """
    path = Path(path)
    if path.is_dir():
        rows = _rows_of_folder(path)
    elif path.suffix.lower() == ".parquet" and path.is_file():
        rows = _rows_of_parquet(path)
    else:
        raise FlyThinkerError(
            f"{path}: give a parquet file with the columns {', '.join(_COLUMNS)}, or a folder of "
            "Author_Title_Year.txt"
        )
    novels: dict[str, list[Document]] = defaultdict(list)
    for where, row in rows:
        for column in ("author", "title", "text"):
            if not isinstance(row[column], str) or not row[column].strip():
                raise FlyThinkerError(f"{where}: {column}: expected text, got {row[column]!r}")
        if not str(row["year"]).isdecimal() or not 1000 <= int(row["year"]) <= 9999:
            raise FlyThinkerError(f"{where}: year: expected a year like 1847, got {row['year']!r}")
        book = Document(row["text"], row["title"].strip(), str(row["year"]))
        novels[row["author"].strip()].append(book)
    return novels


def _rows_of_parquet(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
    except pyarrow.ArrowInvalid as error:
        raise FlyThinkerError(f"{path}: not a parquet file: {error}") from None
    missing = [column for column in _COLUMNS if column not in file.schema_arrow.names]
    if missing:
        raise FlyThinkerError(f"{path}: column '{missing[0]}' is missing")
    rows = file.read(list(_COLUMNS)).to_pylist()
    yield from ((f"{path}:{row}", values) for row, values in enumerate(rows, start=1))


def _rows_of_folder(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    files = sorted(file for file in path.glob("*.txt") if not file.name.startswith("."))
    if not files:
        raise FlyThinkerError(f"{path}: no .txt file in it")
    for file in files:
        try:
            author, *title, year = file.stem.split("_")
        except ValueError:
            title = []
        if not title:
            raise FlyThinkerError(f"{file}: expected a name like Cbronte_Jane_1847.txt")
        try:
            text = file.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            raise FlyThinkerError(f"{file}: not UTF-8 text; save it as UTF-8") from None
        yield str(file), {"author": author, "title": "_".join(title), "year": year, "text": text}


def _cut(book: Document) -> _Book:
    passages = cut_passages(plain_letters(book.text), MIN_WORDS, MAX_WORDS)[OUTER:-OUTER]
    return _Book(book, [passage for passage in passages if passage.text.isascii()])


def _examples(author: str, books: Sequence[_Book], history: int) -> Iterator[list[Example]]:
    """Of each book with an earlier one, oldest first, the examples that ask for its passages."""
    topics = iter(topic_words([passage.text for book in books for passage in book.passages]))
    for book in books:
        earlier = [
            Document(passage.text, other.document.title, other.document.date)
            for other in books
            if other.document.date < book.document.date
            for passage in other.passages
        ]
        examples = []
        for place, (passage, topic) in enumerate(zip(book.passages, topics, strict=False)):
            draw = random.Random(f"{author}/{book.document.title}/{place}")
            read = sorted(draw.sample(range(len(earlier)), min(history, len(earlier))))
            example = ask_for(
                author, book.document, passage, topic, tuple(earlier[index] for index in read)
            )
            if example is not None:
                examples.append(example)
        if earlier:
            yield examples


def _spread(examples: Sequence[Example], count: int) -> list[Example]:
    """`count` of the examples (all, if fewer), at even distances."""
    if len(examples) <= count:
        return list(examples)
    return [examples[round(i * (len(examples) - 1) / (count - 1))] for i in range(count)]
