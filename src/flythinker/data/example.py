"""The one schema of the data: a writing task of one user, and the texts they wrote before it."""

import difflib
import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from flythinker.data.corpus import DOCUMENTS, Corpus, open_corpus
from flythinker.data.document import Document as Document
from flythinker.data.document import Edit, is_iso_date
from flythinker.data.records import json_type, read_records
from flythinker.errors import FlyThinkerError
from flythinker.files import atomic_write, content_hash


@dataclass(frozen=True, slots=True)
class Example:
    """Write `target`, asked for by `query`, as the user who wrote `history` (oldest first).

    `date` is the target's. The history never holds the target or anything later; it is a tuple,
    or a `Selection` of texts that are kept once for all examples of the user.

    >>> from flythinker import Document, Example
    >>> past = Document("The tide was out when we came down to the sea.", date="2024-05-01")
    >>> Example("me", "Write about winter.", "Snow fell.", (past,), "2024-12-01").user_id
    'me'
    """

    user_id: str
    query: str
    target: str
    history: Sequence[Document]
    date: str = ""


Parse = Callable[[Any, str], Example]
"""Makes an example of a record; the text says where it stands, for messages."""


def read_examples(path: str | Path) -> list[Example]:
    """Read a `.jsonl`, `.json` (a list), `.csv` (history as JSON text) or `.parquet` file.

    Histories stand in the file, or in the `documents.parquet` beside it that it refers to (see
    `corpus`). Every record is validated; equal documents are read into one object, because the
    examples of a user repeat most of each other's history. Raises `FlyThinkerError` naming file,
    line (row for parquet, item for a JSON list) and field of the first mistake.
    """
    return list(stream_examples(path))


def stream_examples(path: str | Path) -> Iterator[Example]:
    """The examples of a file one after another; raises as `read_examples`, when it comes to it."""
    for _, example in iterate_examples(path):
        if isinstance(example, FlyThinkerError):
            raise example
        yield example


def iterate_examples(path: str | Path) -> Iterator[tuple[int, Example | FlyThinkerError]]:
    """Yield the line and the example, or what is wrong with it, of every record of a file."""
    parse = example_parser(path)
    for line, record in read_records(path):
        try:
            yield line, parse(record, f"{path}:{line}")
        except FlyThinkerError as error:
            yield line, error


def example_parser(path: str | Path) -> Parse:
    """What makes an example of a record of the file, and where it stands, for messages."""
    documents: dict[Document, Document] = {}
    corpus = cache(partial(open_corpus, Path(path).parent / DOCUMENTS))
    return partial(_parse_example, documents=documents, corpus=corpus)


def refers_to(path: str | Path) -> Path | None:
    """The file of documents that the examples of a file refer to; None if they hold their own."""
    record = next((record for _, record in read_records(path)), None)
    refers = isinstance(record, dict) and isinstance(record.get("history"), dict)
    return Path(path).parent / DOCUMENTS if refers else None


def data_hash(path: str | Path) -> str:
    """SHA-256 of an example file, and of the documents beside it that it may refer to, in hex."""
    documents = Path(path).parent / DOCUMENTS
    if not documents.is_file():
        return content_hash(path)
    return sha256(f"{content_hash(path)} {content_hash(documents)}".encode()).hexdigest()


def read_documents(path: str | Path) -> list[Document]:
    """Read past texts, one `Document` a record, from a file of the same kinds.

    What a server's export says of the person's adapter is no text, and left out.

    Raises `FlyThinkerError` naming file, line and field of the first mistake.
    """
    documents = []
    for line, record in read_records(path):
        if isinstance(record, FlyThinkerError):
            raise record
        if isinstance(record, dict) and "adapter" in record:
            continue
        documents.append(_parse_document(record, f"{path}:{line}", ""))
    return documents


def sample_examples(examples: Sequence[Example], limit: int | None) -> list[Example]:
    """The first `limit` examples of a fixed shuffle (all of them: `None`), always the same."""
    return [examples[place] for place in sample_places(len(examples), limit)]


def sample_places(count: int, limit: int | None) -> list[int]:
    """Which of so many examples `sample_examples` takes, in its order."""
    return random.Random(0).sample(range(count), count)[:limit]


def least_bytes(examples: Iterable[Example]) -> int:
    """What the texts of examples take at least, written as JSON lines."""
    return sum(
        len(example.query)
        + len(example.target)
        + sum(len(one.text) + len(one.title) for one in example.history)
        for example in examples
    )


def write_examples(path: str | Path, examples: Iterable[Example]) -> None:
    """Write one JSON object a line, each with its whole history.

    The file appears only once it is complete.
    """
    with atomic_write(path) as file:
        for example in examples:
            record = {
                "user_id": example.user_id,
                "query": example.query,
                "target": example.target,
                "history": [document.record() for document in example.history],
                "date": example.date,
            }
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def write_documents(path: str | Path, documents: Iterable[Document]) -> None:
    """Write past texts as `read_documents` reads them: one JSON object a line, all or nothing."""
    with atomic_write(path) as file:
        for document in documents:
            file.write(json.dumps(document.record(), ensure_ascii=False) + "\n")


def _parse_example(
    record: Any, where: str, documents: dict[Document, Document], corpus: Callable[[], Corpus]
) -> Example:
    if isinstance(record, FlyThinkerError):
        raise record
    record = _check_object(record, Example, where, "")
    history = record["history"]
    if isinstance(history, FlyThinkerError):
        raise history
    if isinstance(history, dict):
        selection = corpus().select(record["user_id"], history, where)
        return Example(**record | {"history": selection})
    if not isinstance(history, list):
        raise FlyThinkerError(
            f"{where}: field 'history': expected a list, got {json_type(history)}"
        )
    parsed = [
        _parse_document(item, where, f"history[{index}]") for index, item in enumerate(history)
    ]
    return Example(**record | {"history": tuple(documents.setdefault(d, d) for d in parsed)})


def _parse_document(value: Any, where: str, field: str) -> Document:
    record = _check_object(value, Document, where, field)
    if (edit := record.get("edit_of")) is not None:
        _check_object(edit, Edit, where, f"{field}.edit_of" if field else "edit_of")
    return Document.from_record(record)


def _check_object(value: Any, schema: type, where: str, field: str) -> dict[str, Any]:
    """Check the fields of one JSON object against a dataclass; the caller checks what is nested."""
    if not isinstance(value, dict):
        place = f"field '{field}': " if field else ""
        raise FlyThinkerError(f"{where}: {place}expected an object, got {json_type(value)}")
    prefix = f"{field}." if field else ""
    known = [f.name for f in fields(schema)]
    for name in value:
        if name not in known:
            nearest = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
            hint = f"did you mean '{nearest[0]}'?" if nearest else f"known: {', '.join(known)}"
            raise FlyThinkerError(f"{where}: unknown field '{prefix}{name}'; {hint}")
    optional, nested = {"title", "date", "edit_of"}, {"history", "edit_of"}
    for name in known:
        place = f"{where}: field '{prefix}{name}'"
        if name not in value:
            if name not in optional:
                raise FlyThinkerError(f"{place} is missing")
        elif name not in nested and not isinstance(value[name], str):
            raise FlyThinkerError(f"{place}: expected text, got {json_type(value[name])}")
    if value.get("date") and not is_iso_date(value["date"]):
        raise FlyThinkerError(
            f"{where}: field '{prefix}date': expected an ISO date like 2024, 2024-05 or "
            f"2024-05-01, got '{value['date']}'"
        )
    if "user_id" in known and not value["user_id"].strip():
        raise FlyThinkerError(f"{where}: field 'user_id' is empty; every example needs its user")
    return value
