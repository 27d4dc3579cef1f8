"""Documents stored once, beside the example files that refer to them.

`documents.parquet` has a row a document: `user`, `text`, and if known `title`, `date`, `language`
(of the text, ISO 639). A user's rows stand together, oldest first. An example's `history` then says
which of its user's documents it holds:

- `{"before": "2024-07-02"}`: all that were written before that day, as dates compare as text;
  with `"k": 8` the newest 8 of them;
- `{"places": [[0, 3], [7, 8]]}`: those at 0, 1, 2 and 7, counted among the user's.
"""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from flythinker.data.document import Document, is_iso_date
from flythinker.data.records import json_type
from flythinker.data.writings import Selection, Writings
from flythinker.errors import FlyThinkerError

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

DOCUMENTS = "documents.parquet"
ROWS_A_GROUP = 500
"""Documents that are read together: a person's texts are in few groups, and a group is small."""
_KEPT_TEXTS = 5_000
"""Documents of the people looked at last that stay in memory."""
_TEXT_COLUMNS = ("text", "title", "date", "language")


class Corpus:
    """The documents of a `documents.parquet`, read a person at a time.

    In memory are all users and dates, and the texts of the people looked at last. May be used by
    several threads; to another process it goes as its path.
    """

    def __init__(self, path: Path) -> None:
        """Read users and dates; see `open_corpus`."""
        self.path = path
        self._file = _open(path)
        self._columns = [c for c in _TEXT_COLUMNS if c in self._file.schema_arrow.names]
        self._rows = _rows_of_users(self._file, path)
        self._dates = self._read_dates()
        metadata = self._file.metadata
        sizes = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]
        self._group_starts = [sum(sizes[:n]) for n in range(len(sizes))]
        self._kept: OrderedDict[str, Writings] = OrderedDict()
        self._groups: OrderedDict[int, pyarrow.Table] = OrderedDict()
        self._last: tuple[str, list[str], bool] | None = None
        self._lock = Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return open_corpus, (self.path,)

    @property
    def users(self) -> list[str]:
        """Everybody whose texts are here, in the file's order."""
        return list(self._rows)

    def count(self, user: str) -> int:
        """How many documents a user has."""
        return len(self._rows.get(user, ()))

    def dates(self, user: str) -> list[str]:
        """When a user's documents were written, in their order."""
        rows = self._rows.get(user, range(0))
        found: list[str] = self._dates.slice(rows.start, len(rows)).to_pylist()
        return found

    def first_row(self, user: str) -> int:
        """The row of a user's first document, counted from 1 as in messages."""
        return self._rows[user].start + 1

    def writings(self, user: str) -> Writings:
        """All documents of a user; none of somebody unknown."""
        with self._lock:
            if user not in self._kept:
                self._kept[user] = self._read(user)
            self._kept.move_to_end(user)
            texts = sum(len(writings.documents) for writings in self._kept.values())
            while texts > _KEPT_TEXTS and len(self._kept) > 1:
                texts -= len(self._kept.popitem(last=False)[1].documents)
            return self._kept[user]

    def select(self, user: str, reference: dict[str, Any], where: str) -> Selection:
        """The documents that an example's `history` refers to.

        Raises:
            FlyThinkerError: the reference is malformed, or to documents that are not there.
        """
        if "places" in reference and len(reference) == 1:
            places = _places(reference["places"], self.count(user), where)
        elif "before" in reference and not reference.keys() - {"before", "k"}:
            before, k = reference["before"], reference.get("k")
            if not isinstance(before, str) or (before and not is_iso_date(before)):
                raise FlyThinkerError(
                    f"{where}: field 'history.before': expected an ISO date, got {before!r}"
                )
            if k is not None and (not isinstance(k, int) or k < 0):
                raise FlyThinkerError(f"{where}: field 'history.k': expected a number, got {k!r}")
            places = self._earlier(user, before, k)
        else:
            raise FlyThinkerError(
                f"{where}: field 'history': expected a list of texts, "
                f'{{"before": DATE}} or {{"places": [[FIRST, END]]}}, got {reference!r}'
            )
        return Selection(InCorpus(self, user), places)

    def _earlier(self, user: str, before: str, k: int | None) -> Sequence[int]:
        """Places of a user's documents of earlier dates, at most the newest `k`."""
        last = self._last
        if last is None or last[0] != user:  # the examples of a user mostly stand together
            dates = self.dates(user)
            last = self._last = user, dates, dates == sorted(dates)
        _, dates, in_order = last
        if in_order:
            end = bisect_left(dates, before)
            return range(0 if k is None else max(0, end - k), end)
        places = [place for place, date in enumerate(dates) if date < before]
        return tuple(places if k is None else places[max(0, len(places) - k) :])

    def _read_dates(self) -> "pyarrow.ChunkedArray":
        import pyarrow
        import pyarrow.compute

        if "date" not in self._columns:
            return pyarrow.chunked_array([[""] * self._file.metadata.num_rows])
        dates = self._file.read(["date"])["date"].cast(pyarrow.string()).fill_null("")
        for date in pyarrow.compute.unique(dates).to_pylist():
            if date and not is_iso_date(date):
                row = pyarrow.compute.index(dates, date).as_py() + 1
                raise FlyThinkerError(
                    f"{self.path}:{row}: date: expected an ISO date, got {date!r}"
                )
        return dates

    def _read(self, user: str) -> Writings:
        rows = self._rows.get(user, range(0))
        documents: list[Document] = []
        languages: list[str | None] = []
        for group, start in enumerate(self._group_starts):
            size = self._file.metadata.row_group(group).num_rows
            first, end = max(rows.start, start), min(rows.stop, start + size)
            if first >= end:
                continue
            for record in self._group(group).slice(first - start, end - first).to_pylist():
                if not isinstance(record["text"], str):
                    raise FlyThinkerError(
                        f"{self.path}:{first + 1}: text: expected text, "
                        f"got {json_type(record['text'])}"
                    )
                title, date = record.get("title") or "", record.get("date") or ""
                documents.append(Document(record["text"], title, date))
                languages.append(record.get("language"))
        return Writings(documents, languages)

    def _group(self, number: int) -> "pyarrow.Table":
        if number not in self._groups:
            self._groups[number] = self._file.read_row_group(number, self._columns)
        self._groups.move_to_end(number)
        while len(self._groups) > 4:
            self._groups.popitem(last=False)
        return self._groups[number]


@dataclass(frozen=True, slots=True)
class InCorpus:
    """The texts of one person, where they are."""

    corpus: Corpus
    user: str

    @property
    def writings(self) -> Writings:
        """All of them; read, if they are not in memory."""
        return self.corpus.writings(self.user)


def open_corpus(path: Path) -> Corpus:
    """The corpus in a file; the same object as before, if the file has not changed.

    Raises:
        FlyThinkerError: no such file, not parquet, columns that are missing or of another kind,
            a bad date, a user's rows that do not stand together; names the row.
    """
    if not path.is_file():
        raise FlyThinkerError(
            f"{path}: no such file, though examples beside it refer to it; copy it too, or make "
            "files that hold their texts themselves with `flythinker data export`"
        )
    status = path.stat()
    return _opened(path.resolve(), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4)
def _opened(path: Path, changed: int, size: int) -> Corpus:
    return Corpus(path)


def _open(path: Path) -> "pyarrow.parquet.ParquetFile":
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
    except pyarrow.ArrowInvalid as error:
        raise FlyThinkerError(f"{path}: not a parquet file: {error}") from None
    for column in ("user", "text"):
        if column not in file.schema_arrow.names:
            raise FlyThinkerError(f"{path}: column '{column}' is missing")
    return file


def _rows_of_users(file: "pyarrow.parquet.ParquetFile", path: Path) -> dict[str, range]:
    """Which rows are whose."""
    import pyarrow
    import pyarrow.compute

    column = file.read(["user"])["user"].cast(pyarrow.string()).combine_chunks()
    rows: dict[str, range] = {}
    start = 0
    runs = pyarrow.compute.run_end_encode(column)
    for user, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
        if not user:
            raise FlyThinkerError(f"{path}:{start + 1}: user: expected text, got {user!r}")
        if user in rows:
            raise FlyThinkerError(
                f"{path}:{start + 1}: user '{user}' has rows further up as well: sort the file by "
                "user and date"
            )
        rows[user] = range(start, end)
        start = end
    return rows


def _places(ranges: Any, count: int, where: str) -> Sequence[int]:
    field = f"{where}: field 'history.places"
    if not isinstance(ranges, list):
        raise FlyThinkerError(f"{field}': expected a list, got {json_type(ranges)}")
    for number, one in enumerate(ranges):
        whole = isinstance(one, list) and len(one) == 2 and all(isinstance(n, int) for n in one)
        if not whole or not 0 <= one[0] < one[1] <= count:
            raise FlyThinkerError(
                f"{field}[{number}]': expected [FIRST, END] of the user's {count} documents, "
                f"got {one!r}"
            )
    if len(ranges) == 1:
        return range(*ranges[0])
    return tuple(place for first, end in ranges for place in range(first, end))
