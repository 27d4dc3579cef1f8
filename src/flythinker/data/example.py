"""The one schema of the data: a writing task of one user, and the texts they wrote before it."""

import csv
import difflib
import json
import random
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date as calendar_date
from pathlib import Path
from typing import Any

from flythinker.errors import FlyThinkerError
from flythinker.files import atomic_write

_ISO_DATE = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?")
_JSON_NAMES = {str: "text", bool: "a boolean", int: "a number", float: "a number"} | {
    list: "a list",
    dict: "an object",
    type(None): "null",
}


@dataclass(frozen=True, slots=True)
class Document:
    """One past text of a user; `date` is ISO `YYYY[-MM[-DD]]`, or empty when unknown.

    >>> from flythinker import Document
    >>> Document("The tide was out.", title="At the sea", date="2024-05").title
    'At the sea'
    """

    text: str
    title: str = ""
    date: str = ""


@dataclass(frozen=True, slots=True)
class Example:
    """Write `target`, asked for by `query`, as the user who wrote `history` (oldest first).

    `date` is the target's. The history never holds the target or anything later.

    >>> from flythinker import Document, Example
    >>> past = Document("The tide was out when we came down to the sea.", date="2024-05-01")
    >>> Example("me", "Write about winter.", "Snow fell.", (past,), "2024-12-01").user_id
    'me'
    """

    user_id: str
    query: str
    target: str
    history: tuple[Document, ...]
    date: str = ""


def read_examples(path: str | Path) -> list[Example]:
    """Read a `.jsonl`, `.json` (a list), `.csv` (history as JSON text) or `.parquet` file.

    Every record is validated; equal documents are read into one object, because the examples
    of a user repeat most of each other's history. Raises `FlyThinkerError` naming file, line
    (row for parquet, item for a JSON list) and field of the first mistake.
    """
    examples = []
    for _, example in iterate_examples(path):
        if isinstance(example, FlyThinkerError):
            raise example
        examples.append(example)
    return examples


def iterate_examples(path: str | Path) -> Iterator[tuple[int, Example | FlyThinkerError]]:
    """Yield the line and the example, or what is wrong with it, of every record of a file."""
    documents: dict[Document, Document] = {}
    for line, record in read_records(path):
        try:
            yield line, _parse_example(record, f"{path}:{line}", documents)
        except FlyThinkerError as error:
            yield line, error


def read_documents(path: str | Path) -> list[Document]:
    """Read past texts, one `Document` a record, from a file of the same kinds.

    Raises `FlyThinkerError` naming file, line and field of the first mistake.
    """
    documents = []
    for line, record in read_records(path):
        if isinstance(record, FlyThinkerError):
            raise record
        documents.append(Document(**_check_object(record, Document, f"{path}:{line}", "")))
    return documents


def sample_examples(examples: Sequence[Example], limit: int | None) -> list[Example]:
    """The first `limit` examples of a fixed shuffle (all of them: `None`), always the same."""
    return random.Random(0).sample(examples, len(examples))[:limit]


def least_bytes(examples: Iterable[Example]) -> int:
    """What the texts of examples take at least, written as JSON lines."""
    return sum(
        len(example.query)
        + len(example.target)
        + sum(len(one.text) + len(one.title) for one in example.history)
        for example in examples
    )


def write_examples(path: str | Path, examples: Iterable[Example]) -> None:
    """Write one JSON object a line; the file appears only once it is complete."""
    with atomic_write(path) as file:
        for example in examples:
            file.write(json.dumps(asdict(example), ensure_ascii=False) + "\n")


def write_documents(path: str | Path, documents: Iterable[Document]) -> None:
    """Write past texts as `read_documents` reads them: one JSON object a line, all or nothing."""
    with atomic_write(path) as file:
        for document in documents:
            file.write(json.dumps(asdict(document), ensure_ascii=False) + "\n")


def is_iso_date(text: str) -> bool:
    """Whether `text` is a real calendar date `YYYY`, `YYYY-MM` or `YYYY-MM-DD`."""
    match = _ISO_DATE.fullmatch(text)
    if not match:
        return False
    year, month, day = (int(part or 1) for part in match.groups())
    try:
        calendar_date(year, month, day)
    except ValueError:
        return False
    return True


def json_type(value: Any) -> str:
    """The name of a value's JSON type, for messages: text, null, a number, a list, …"""
    return _JSON_NAMES.get(type(value), type(value).__name__)


def read_records(path: str | Path) -> Iterator[tuple[int, Any]]:
    """Yield line and raw record of a file; a line that is not JSON yields its `FlyThinkerError`."""
    path = Path(path)
    if not path.is_file():
        raise FlyThinkerError(f"{path}: no such file")
    match path.suffix.lower():
        case ".parquet":
            import pyarrow.parquet

            yield from enumerate(pyarrow.parquet.read_table(path).to_pylist(), start=1)
        case ".csv":
            with path.open(encoding="utf-8", newline="") as file:
                csv.field_size_limit(sys.maxsize)  # a history is longer than csv's 128 kB
                reader = csv.DictReader(file)
                for row in reader:
                    where = f"{path}:{reader.line_num}: field 'history'"
                    parsed = {"history": _json(row["history"], where)} if "history" in row else {}
                    yield reader.line_num, row | parsed
        case ".json":
            records = _json(path.read_text(encoding="utf-8"), str(path))
            if isinstance(records, FlyThinkerError):
                raise records
            if not isinstance(records, list):
                raise FlyThinkerError(f"{path}: expected a list of examples; use .jsonl for lines")
            yield from enumerate(records, start=1)
        case ".jsonl":
            yield from read_json_lines(path)
        case suffix:
            raise FlyThinkerError(
                f"{path}: cannot read '{suffix}' files; use .jsonl, .json, .csv or .parquet"
            )


def read_json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """What `read_records` yields of a .jsonl file, whatever this one is called."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, _json(line, f"{path}:{number}")


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        return FlyThinkerError(f"{where}: not valid JSON: {error.msg} at column {error.colno}")


def _parse_example(record: Any, where: str, documents: dict[Document, Document]) -> Example:
    if isinstance(record, FlyThinkerError):
        raise record
    record = _check_object(record, Example, where, "")
    history = record["history"]
    if isinstance(history, FlyThinkerError):
        raise history
    if not isinstance(history, list):
        raise FlyThinkerError(
            f"{where}: field 'history': expected a list, got {json_type(history)}"
        )
    parsed = [
        Document(**_check_object(item, Document, where, f"history[{index}]"))
        for index, item in enumerate(history)
    ]
    return Example(**record | {"history": tuple(documents.setdefault(d, d) for d in parsed)})


def _check_object(value: Any, schema: type, where: str, field: str) -> dict[str, Any]:
    """Check the fields of one JSON object against a dataclass; lists are left to the caller."""
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
    optional = {"title", "date"}
    for name in known:
        place = f"{where}: field '{prefix}{name}'"
        if name not in value:
            if name not in optional:
                raise FlyThinkerError(f"{place} is missing")
        elif name != "history" and not isinstance(value[name], str):
            raise FlyThinkerError(f"{place}: expected text, got {json_type(value[name])}")
    if value.get("date") and not is_iso_date(value["date"]):
        raise FlyThinkerError(
            f"{where}: field '{prefix}date': expected an ISO date like 2024, 2024-05 or "
            f"2024-05-01, got '{value['date']}'"
        )
    if "user_id" in known and not value["user_id"].strip():
        raise FlyThinkerError(f"{where}: field 'user_id' is empty; every example needs its user")
    return value
