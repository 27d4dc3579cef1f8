"""Files of records, as `.jsonl`, `.json`, `.csv` or `.parquet`: what is in them, not checked."""

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flythinker.errors import FlyThinkerError

_JSON_NAMES = {str: "text", bool: "a boolean", int: "a number", float: "a number"} | {
    list: "a list",
    dict: "an object",
    type(None): "null",
}
_ROWS = 1_000  # of a parquet file in memory at the same time


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
            yield from _read_parquet(path)
        case ".csv":
            yield from _read_csv(path)
        case ".json":
            records = parse_json(path.read_text(encoding="utf-8"), str(path))
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
                yield number, parse_json(line, f"{path}:{number}")


def parse_json(text: str, where: str) -> Any:
    """A JSON value; of what is none the `FlyThinkerError` that says so, and where."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        return FlyThinkerError(f"{where}: not valid JSON: {error.msg} at column {error.colno}")


def _read_parquet(path: Path) -> Iterator[tuple[int, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
    except pyarrow.ArrowInvalid as error:
        raise FlyThinkerError(f"{path}: not a parquet file: {error}") from None
    with file:
        number = 0
        for batch in file.iter_batches(_ROWS):
            for record in batch.to_pylist():
                number += 1
                yield number, record


def _read_csv(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        csv.field_size_limit(sys.maxsize)  # a history is longer than csv's 128 kB
        reader = csv.DictReader(file)
        for row in reader:
            where = f"{path}:{reader.line_num}: field 'history'"
            parsed = {"history": parse_json(row["history"], where)} if "history" in row else {}
            yield reader.line_num, row | parsed
