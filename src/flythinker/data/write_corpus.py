"""Examples → a corpus: their documents once, and files of examples that refer to them."""

import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from flythinker.data.corpus import DOCUMENTS, ROWS_A_GROUP
from flythinker.data.document import Document
from flythinker.data.example import Example
from flythinker.data.writings import Selection, Source, Writings
from flythinker.files import atomic_write
from flythinker.progress import track


def write_corpus(folder: Path, files: Mapping[str, Sequence[Example]]) -> None:
    """Write `documents.parquet` and a file of examples for each name, such as `train.jsonl`.

    What is read from them equals what is written. Older files of these names leave first, and the
    documents come before the examples: whenever it is stopped, no example refers to documents
    that are not its own.

    Raises:
        DiskFull: there is no room.
    """
    catalog = _Catalog()
    places = {
        name: [catalog.places(example) for example in examples] for name, examples in files.items()
    }
    for name in files:
        (folder / name).unlink(missing_ok=True)
    _write_documents(folder / DOCUMENTS, catalog)
    for name, examples in files.items():
        with atomic_write(folder / name) as file:
            about = track(examples, f"Writing {name}", transient=True)
            for example, chosen in zip(about, places[name], strict=True):
                record = {
                    "user_id": example.user_id,
                    "query": example.query,
                    "target": example.target,
                    "history": catalog.reference(example, chosen),
                }
                record |= {"date": example.date} if example.date else {}
                file.write(json.dumps(record, ensure_ascii=False) + "\n")


def least_corpus_bytes(examples: Iterable[Example]) -> int:
    """What the examples take at least, beside their documents."""
    return sum(len(example.query) + len(example.target) for example in examples)


class _Catalog:
    """The documents of each user, each once, in the order in which examples show them."""

    def __init__(self) -> None:
        self.users: dict[str, Writings] = {}
        self._places: dict[str, dict[Document, int]] = {}
        self._dates: dict[str, list[str]] = {}
        self._whole: dict[str, Source] = {}  # taken over as they are, places and all

    def places(self, example: Example) -> Sequence[int]:
        """Where the documents of an example's history are among its user's."""
        user, history = example.user_id, example.history
        if isinstance(history, Selection):
            if user not in self.users:
                self.users[user], self._whole[user] = history.source.writings, history.source
            if self._whole.get(user) == history.source:
                return history.places
        self._whole.pop(user, None)
        own = self.users.get(user, Writings())
        if user not in self._places:
            own = self.users[user] = Writings(own.documents)
            self._places[user] = {}
            for place, document in enumerate(own.documents):
                self._places[user].setdefault(document, place)
        known = self._places[user]
        for document in history:
            if document not in known:
                known[document] = len(own.documents)
                own.append(document)
        return tuple(known[document] for document in history)

    def reference(self, example: Example, places: Sequence[int]) -> dict[str, Any]:
        """How the file says which documents: by date where that gives these, else by place."""
        user = example.user_id
        if user not in self._dates:
            self._dates[user] = [document.date for document in self.users[user].documents]
        if example.date and _same(places, _earlier(self._dates[user], example.date)):
            return {"before": example.date}
        return {"places": list(_ranges(places))}


def _earlier(dates: list[str], before: str) -> Sequence[int]:
    if dates == sorted(dates):
        return range(bisect_left(dates, before))
    return [place for place, date in enumerate(dates) if date < before]


def _same(first: Sequence[int], second: Sequence[int]) -> bool:
    if isinstance(first, range) and isinstance(second, range):
        return first == second
    return list(first) == list(second)


def _ranges(places: Sequence[int]) -> Iterator[list[int]]:
    """Places as runs `[first, end]` that follow each other."""
    if isinstance(places, range):
        if places:
            yield [places.start, places.stop]
        return
    start = 0
    for index in range(1, len(places) + 1):
        if index == len(places) or places[index] != places[index - 1] + 1:
            yield [places[start], places[index - 1] + 1]
            start = index


def _write_documents(path: Path, catalog: _Catalog) -> None:
    import pyarrow
    import pyarrow.parquet

    text = pyarrow.string()
    schema = pyarrow.schema(
        [("user", text), ("date", text), ("language", text), ("title", text), ("text", text)]
    )
    rows = iter(_rows(catalog.users))
    with (
        atomic_write(path, binary=True) as file,
        pyarrow.parquet.ParquetWriter(file, schema, compression="zstd") as writer,
    ):
        while group := list(islice(rows, ROWS_A_GROUP)):
            writer.write_table(pyarrow.Table.from_pylist(group, schema))


def _rows(users: Mapping[str, Writings]) -> Iterator[dict[str, str]]:
    for user, own in track(users.items(), f"Writing {DOCUMENTS}", transient=True):
        for document, language in zip(own.documents, own.languages(), strict=True):
            yield {
                "user": user,
                "date": document.date,
                "language": language,
                "title": document.title,
                "text": document.text,
            }
