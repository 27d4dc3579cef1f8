"""A table of many people's texts, a row a text: `user`, `text` and if known `title`, `date`."""

import datetime
from pathlib import Path

from flythinker.data.document import Document, is_iso_date
from flythinker.data.records import json_type, read_records
from flythinker.errors import FlyThinkerError


def read_table(path: Path) -> dict[str, list[Document]]:
    """The texts of each user, in the order of the rows, from `.parquet`, `.jsonl`, `.json`, `.csv`.

    Other columns are left out.

    Raises:
        FlyThinkerError: no such file, or the first row that lacks something, naming the column.
    """
    users: dict[str, list[Document]] = {}
    for row, record in read_records(path):
        if isinstance(record, FlyThinkerError):
            raise record
        if not isinstance(record, dict):
            raise FlyThinkerError(f"{path}:{row}: expected an object, got {json_type(record)}")
        texts = {name: record.get(name) for name in ("user", "text", "title", "date")}
        if isinstance(texts["date"], datetime.date):  # parquet has a type for it
            texts["date"] = texts["date"].isoformat()[:10]
        for name, value in texts.items():
            if value is None and name in ("title", "date"):
                texts[name] = ""
            elif not isinstance(value, str):
                raise FlyThinkerError(
                    f"{path}:{row}: {name}: expected text, got {json_type(value)}"
                )
            elif name in ("user", "text") and not value.strip():
                raise FlyThinkerError(f"{path}:{row}: {name}: is empty")
        date = str(texts["date"])
        if date and not is_iso_date(date):
            raise FlyThinkerError(
                f"{path}:{row}: date: expected an ISO date like 2024-05-01, got '{date}'"
            )
        document = Document(str(texts["text"]), str(texts["title"]), date)
        users.setdefault(str(texts["user"]), []).append(document)
    return users
