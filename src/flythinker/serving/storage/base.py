"""A database of writings: how it is opened and closed, and what becomes of it on a full disk."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from sqlalchemy import Connection, Engine, Table, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from flythinker.disk import DiskFull, free_bytes, require_room
from flythinker.serving.storage.database import (
    empty_log,
    open_database,
    parse_url,
    sqlite_file,
    user_number,
    writing,
)
from flythinker.serving.storage.reserve import Reserve

logger = logging.getLogger(__name__)

PART_BYTES = 2**19
"""Of a row of what is kept in parts: on a full disk it is deleted a row at a time."""

_LEAST_BYTES = 2**20
"""A disk with less room counts as full."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Room:
    """How the database's disk is.

    Attributes:
        free: bytes; `None` where the disk cannot be seen, as PostgreSQL's.
        full: nothing can be added. Of PostgreSQL: the last document that came found no room.
    """

    free: int | None
    full: bool


class StoreBase:
    """A database. All methods may be called from any thread.

    On a full disk reading goes on, adding raises `DiskFull`, and SQLite deletes in the room of a
    file that is kept for it (`Reserve`).
    """

    def __init__(self, engine: Engine) -> None:
        """See `open`."""
        self._engine = engine
        dialect = {"sqlite": sqlite, "postgresql": postgresql}[engine.dialect.name]
        self._upsert: Any = dialect.insert
        file = sqlite_file(engine.url)
        self._reserve = Reserve(file) if file else None
        self._found_no_room = False
        if self._reserve and not self._reserve.fill():
            logger.warning("the database's disk is full: nothing can be added, see /ready")

    @classmethod
    def open(cls, url: str) -> Self:
        """Connect, see `open_database`; on a full disk with the reserve's room."""
        try:
            return cls(open_database(url))
        except DiskFull:
            file = sqlite_file(parse_url(url))
            if file is None:
                raise
            with Reserve(file).given_up():
                engine = open_database(url)
            return cls(engine)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def check(self) -> None:
        """Raise SQLAlchemy's `OperationalError` if the database does not answer."""
        with self._engine.connect() as connection:
            connection.execute(select(1))

    def room(self) -> Room:
        """How the database's disk is now."""
        if self._reserve is None:
            return Room(None, self._found_no_room)
        whole = self._reserve.fill()
        free = free_bytes(self._reserve.path)
        return Room(free, not whole or free < _LEAST_BYTES)

    # On a full disk

    @contextmanager
    def _adding(self, chars: int) -> Iterator[Connection]:
        """A transaction that adds texts of so many characters, if there surely is no lack of room.

        Raises:
            DiskFull: there is not enough; nothing was stored.
        """
        try:
            if file := sqlite_file(self._engine.url):
                if self._reserve and not self._reserve.fill():
                    raise DiskFull(f"{file}: the database's disk is full: make room")
                require_room(file, 2 * chars)  # first in the log, then in the database
            with writing(self._engine) as connection:
                yield connection
        except DiskFull:
            self._found_no_room = True
            raise
        self._found_no_room = False

    def _taking_away(self, work: Callable[[], _T], in_parts: Callable[[], _T] | None = None) -> _T:
        """Do what makes less of the database; on a full disk in the reserve's room, maybe in parts.

        Raises:
            DiskFull: there is no room even so.
        """
        try:
            return work()
        except DiskFull:
            if self._reserve is None:
                raise
        with self._reserve.given_up():
            try:
                return (in_parts or work)()
            finally:
                with suppress(DiskFull):
                    empty_log(self._engine)  # which gives the room back

    def _empty_log(self) -> None:
        """Let what was deleted leave the log, if there is room for that."""
        try:
            self._taking_away(lambda: empty_log(self._engine))
        except DiskFull:
            logger.warning("deleted texts stay in the database's log until there is room")

    def _delete_parts(self, table: Table, tenant: str, user: str) -> None:
        """Delete what `table` has of a user, a part at a time: each needs little room."""
        own = user_number(tenant, user).scalar_subquery()
        query = select(table.c.part).where(table.c.user == own)
        with self._engine.connect() as connection:
            parts = list(connection.scalars(query))
        for part in parts:
            one = (table.c.user == own) & (table.c.part == part)
            with writing(self._engine) as connection:
                connection.execute(delete(table).where(one))
            empty_log(self._engine)
