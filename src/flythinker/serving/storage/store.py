"""What the server remembers: tenants' users, their documents, and API keys.

Every method on users and documents takes the tenant, and none reaches beyond it.
"""

import hashlib
import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self, TypeVar

from sqlalchemy import Connection, Engine, Row, Select, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from flythinker.data.example import Document
from flythinker.disk import DiskFull, free_bytes, require_room
from flythinker.errors import FlyThinkerError
from flythinker.serving.errors import TooManyDocuments
from flythinker.serving.storage.database import (
    documents,
    empty_log,
    keys,
    open_database,
    parse_url,
    sqlite_file,
    users,
    writing,
)
from flythinker.serving.storage.reserve import Reserve

logger = logging.getLogger(__name__)

_BATCH = 100
"""Documents of an export that are in memory at the same time."""

_PART_CHARS = 2**19
"""Characters that are deleted at a time on a full disk: up to 2 MiB, in the log and around it."""

_LEAST_BYTES = 2**20
"""A disk with less room counts as full."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class StoredDocument:
    """A document, and what the store adds: an id made from its text, and when it came."""

    id: str
    document: Document
    created: datetime


@dataclass(frozen=True)
class Page:
    """Some of a user's documents, in the order they were added."""

    documents: list[StoredDocument]
    has_more: bool


@dataclass(frozen=True)
class Key:
    """An API key without its secret. `revoked` is when it ended, `None` while it is valid."""

    id: str
    tenant: str
    name: str
    created: datetime
    revoked: datetime | None


@dataclass(frozen=True)
class Room:
    """How the database's disk is.

    Attributes:
        free: bytes; `None` where the disk cannot be seen, as PostgreSQL's.
        full: nothing can be added. Of PostgreSQL: the last document that came found no room.
    """

    free: int | None
    full: bool


class Store:
    """A database of users' writings. All methods may be called from any thread.

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

    # Users

    def users(self, tenant: str, after: str = "", limit: int = 100) -> list[str]:
        """Up to `limit` users of a tenant by name, those that come later than `after`."""
        later = (users.c.tenant == tenant) & (users.c.name > after)
        query = select(users.c.name).where(later).order_by(users.c.name).limit(limit)
        with self._engine.connect() as connection:
            return list(connection.scalars(query))

    def knows(self, tenant: str, user: str) -> bool:
        """Whether anything of the user was ever added, and the user not forgotten since."""
        with self._engine.connect() as connection:
            return connection.scalar(_number(tenant, user)) is not None

    def history(self, tenant: str, user: str) -> list[Document] | None:
        """All that a user wrote, oldest first (without a date: first); `None`: unknown."""
        with self._engine.connect() as connection:
            if connection.scalar(_number(tenant, user)) is None:
                return None
            rows = connection.execute(_documents(tenant, user)).all()
        return sorted((_stored(row).document for row in rows), key=lambda one: one.date)

    def forget(self, tenant: str, user: str) -> bool:
        """Delete a user and all documents; whether there was one."""
        own = (users.c.tenant == tenant) & (users.c.name == user)

        def at_once() -> bool:
            with writing(self._engine) as connection:
                return connection.execute(delete(users).where(own)).rowcount > 0

        def in_parts() -> bool:
            self._delete_in_parts(tenant, user)
            return at_once()

        found = self._taking_away(at_once, in_parts)
        if found:
            try:
                self._taking_away(lambda: empty_log(self._engine))  # texts are to leave the log too
            except DiskFull:
                logger.warning("deleted texts stay in the database's log until there is room")
        return found

    # Documents

    def add(
        self, tenant: str, user: str, added: Sequence[Document], most: int
    ) -> list[StoredDocument]:
        """Store documents, all or none, and the user with them; they are on disk at the end.

        A text that the user has already is the same document, and takes the newer title and date.

        Raises:
            TooManyDocuments: the user would have more than `most`.
            DiskFull: there is no room for them.
        """
        rows = {row["id"]: row for row in map(_row, added)}
        with self._adding(sum(len(row["text"]) for row in rows.values())) as connection:
            # also locks the user, so that nobody adds at the same time and the count holds
            number = connection.scalar(
                self._upsert(users)
                .values(tenant=tenant, name=user)
                .on_conflict_do_update(
                    index_elements=["tenant", "name"], set_={"name": users.c.name}
                )
                .returning(users.c.number)
            )
            new = self._upsert(documents)
            changed = {"title": new.excluded.title, "date": new.excluded.date}
            connection.execute(
                new.on_conflict_do_update(index_elements=["user", "id"], set_=changed),
                [row | {"user": number} for row in rows.values()],
            )
            own = documents.c.user == number
            if (connection.scalar(select(func.count()).where(own)) or 0) > most:
                message = f"a user may have {most} documents; nothing was stored, delete some first"
                raise TooManyDocuments(message, code="too_many_documents")
            stored = {
                row.id: _stored(row)
                for row in connection.execute(
                    select(documents).where(own, documents.c.id.in_(list(rows)))
                )
            }
        return [stored[id] for id in rows]

    def page(
        self, tenant: str, user: str, after: str | None = None, limit: int = _BATCH
    ) -> Page | None:
        """Up to `limit` documents, those added later than the document `after`.

        `None`: there is no such user, or no such document.
        """
        query = _documents(tenant, user)
        with self._engine.connect() as connection:
            if connection.scalar(_number(tenant, user)) is None:
                return None
            if after is not None:
                last = connection.execute(query.where(documents.c.id == after)).one_or_none()
                if last is None:
                    return None
                query = query.where(documents.c.number > last.number)
            rows = connection.execute(query.limit(limit + 1)).all()
        return Page([_stored(row) for row in rows[:limit]], len(rows) > limit)

    def all(self, tenant: str, user: str) -> Iterator[StoredDocument]:
        """All documents of a user, read a few at a time."""
        query, last = _documents(tenant, user).limit(_BATCH), 0
        while True:
            with self._engine.connect() as connection:
                rows = connection.execute(query.where(documents.c.number > last)).all()
            if not rows:
                return
            yield from map(_stored, rows)
            last = rows[-1].number

    def get(self, tenant: str, user: str, id: str) -> StoredDocument | None:
        """One document; `None`: there is none."""
        with self._engine.connect() as connection:
            query = _documents(tenant, user).where(documents.c.id == id)
            row = connection.execute(query).one_or_none()
        return _stored(row) if row else None

    def delete(self, tenant: str, user: str, id: str) -> bool:
        """Delete one document; whether there was one."""
        own = (documents.c.user == _number(tenant, user).scalar_subquery()) & (documents.c.id == id)

        def at_once() -> bool:
            with writing(self._engine) as connection:
                return connection.execute(delete(documents).where(own)).rowcount > 0

        return self._taking_away(at_once)

    # API keys

    def create_key(self, tenant: str, name: str = "") -> tuple[Key, str]:
        """A new key of a tenant, and its secret, which nobody can read again."""
        key = Key(secrets.token_hex(4), tenant, name, datetime.now(UTC), None)
        secret = f"fly-{secrets.token_urlsafe(32)}"
        with writing(self._engine) as connection:
            connection.execute(insert(keys).values(**vars(key), hash=_hash(secret)))
        return key, secret

    def api_keys(self) -> list[Key]:
        """All keys, also revoked ones, in the order they were made."""
        query = select(keys).order_by(keys.c.created, keys.c.id)
        with self._engine.connect() as connection:
            return [
                Key(row.id, row.tenant, row.name, _utc(row.created), _utc(row.revoked))
                for row in connection.execute(query)
            ]

    def has_keys(self) -> bool:
        """Whether there is a valid key."""
        return any(key.revoked is None for key in self.api_keys())

    def revoke_key(self, id: str) -> None:
        """End a key now.

        Raises:
            FlyThinkerError: there is no such key; revoked before is no error.
        """

        def at_once() -> None:
            with writing(self._engine) as connection:
                if connection.scalar(select(keys.c.id).where(keys.c.id == id)) is None:
                    raise FlyThinkerError(f"no key '{id}'; `flythinker keys list` shows them")
                valid = (keys.c.id == id) & keys.c.revoked.is_(None)
                connection.execute(update(keys).where(valid).values(revoked=datetime.now(UTC)))

        self._taking_away(at_once)

    def tenant_of(self, secret: str) -> str | None:
        """Whose key it is; `None`: nobody's, or revoked."""
        valid = (keys.c.hash == _hash(secret)) & keys.c.revoked.is_(None)
        with self._engine.connect() as connection:
            return connection.scalar(select(keys.c.tenant).where(valid))

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

    def _delete_in_parts(self, tenant: str, user: str) -> None:
        """Delete a user's documents a few at a time, so that each needs little room in the log."""
        own = documents.c.user == _number(tenant, user).scalar_subquery()
        query = select(documents.c.number, func.length(documents.c.text)).where(own).limit(_BATCH)
        while True:
            with self._engine.connect() as connection:
                rows = connection.execute(query).all()
            if not rows:
                return
            part: list[int] = []
            chars = 0
            for number, length in rows:
                chars += length
                if part and chars > _PART_CHARS:
                    break
                part.append(number)
            with writing(self._engine) as connection:
                connection.execute(delete(documents).where(documents.c.number.in_(part)))
            empty_log(self._engine)


def _number(tenant: str, user: str) -> Select[Any]:
    return select(users.c.number).where(users.c.tenant == tenant, users.c.name == user)


def _documents(tenant: str, user: str) -> Select[Any]:
    own = documents.c.user == _number(tenant, user).scalar_subquery()
    return select(documents).where(own).order_by(documents.c.number)


def _row(document: Document) -> dict[str, Any]:
    text = document.text.strip()
    return {
        "id": "doc-" + hashlib.sha256(text.encode()).hexdigest()[:32],
        "text": text,
        "title": document.title.strip(),
        "date": document.date,
        "created": datetime.now(UTC),
    }


def _stored(row: Row[Any]) -> StoredDocument:
    return StoredDocument(row.id, Document(row.text, row.title, row.date), _utc(row.created))


def _utc(time: Any) -> Any:
    """SQLite forgets time zones."""
    return time.replace(tzinfo=UTC) if time and not time.tzinfo else time


def _hash(secret: str) -> str:
    """A secret is 256 random bits, so one round is enough: there is nothing to guess."""
    return hashlib.sha256(secret.encode()).hexdigest()
