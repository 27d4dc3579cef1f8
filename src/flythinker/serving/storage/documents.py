"""What the server remembers of tenants' users: their documents.

Every method takes the tenant, and none reaches beyond it.
"""

import hashlib
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, Select, delete, func, or_, select, update

from flythinker.data.document import Document, Edit
from flythinker.serving.errors import TooManyDocuments
from flythinker.serving.storage.base import StoreBase
from flythinker.serving.storage.database import (
    adapter_parts,
    adapters,
    documents,
    empty_log,
    index_parts,
    user_number,
    users,
    utc,
    writing,
)

_BATCH = 100
"""Documents of an export that are in memory at the same time."""

_PART_CHARS = 2**19
"""Characters that are deleted at a time on a full disk: up to 2 MiB, in the log and around it."""


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


class DocumentStore(StoreBase):
    """The documents of tenants' users."""

    def users(self, tenant: str, after: str = "", limit: int = 100) -> list[str]:
        """Up to `limit` users of a tenant by name, those that come later than `after`."""
        later = (users.c.tenant == tenant) & (users.c.name > after)
        query = select(users.c.name).where(later).order_by(users.c.name).limit(limit)
        with self._engine.connect() as connection:
            return list(connection.scalars(query))

    def knows(self, tenant: str, user: str) -> bool:
        """Whether something of the user was ever added, and the user not forgotten since."""
        with self._engine.connect() as connection:
            return connection.scalar(user_number(tenant, user)) is not None

    def history(self, tenant: str, user: str) -> list[Document] | None:
        """All that a user wrote, undated texts and then the oldest first; `None`: unknown user."""
        with self._engine.connect() as connection:
            if connection.scalar(user_number(tenant, user)) is None:
                return None
            rows = connection.execute(_documents(tenant, user)).all()
        return sorted((_stored(row).document for row in rows), key=lambda document: document.date)

    def forget(self, tenant: str, user: str) -> bool:
        """Delete a user and all documents; whether there was one."""
        owned = (users.c.tenant == tenant) & (users.c.name == user)

        def at_once() -> bool:
            with writing(self._engine) as connection:
                return connection.execute(delete(users).where(owned)).rowcount > 0

        def in_parts() -> bool:
            self._delete_in_parts(tenant, user)
            return at_once()

        found = self._taking_away(at_once, in_parts)
        if found:
            self._empty_log()  # texts are to leave it too
        return found

    def add(
        self, tenant: str, user: str, added: Sequence[Document], most: int
    ) -> list[StoredDocument]:
        """Store documents, all or none, and the user with them; they are on disk at the end.

        A text that the user has already is the same document, and takes the newer title and date;
        it stays an edit of what it was.

        Raises:
            TooManyDocuments: the user would have more than `most`.
            DiskFull: there is no room for them.
        """
        rows = {row["id"]: row for row in map(_row, added)}
        with self._adding(sum(map(_characters, rows.values()))) as connection:
            # also locks the user, so that nobody adds at the same time and the count holds
            number, version = connection.execute(
                self._upsert(users)
                .values(tenant=tenant, name=user, version=1, epoch=secrets.randbits(53))
                .on_conflict_do_update(
                    index_elements=["tenant", "name"], set_={"version": users.c.version + 1}
                )
                .returning(users.c.number, users.c.version)
            ).one()
            new = self._upsert(documents)
            changed = {name: new.excluded[name] for name in ("title", "date", "version")}
            changed |= {
                name: func.coalesce(new.excluded[name], documents.c[name])
                for name in ("edit_query", "edit_written")
            }
            differs = or_(
                *(
                    documents.c[name].is_distinct_from(value)
                    for name, value in changed.items()
                    if name != "version"
                )
            )
            connection.execute(
                new.on_conflict_do_update(
                    index_elements=["user", "id"], set_=changed, where=differs
                ),
                [row | {"user": number, "version": version} for row in rows.values()],
            )
            owned = documents.c.user == number
            if (connection.scalar(select(func.count()).where(owned)) or 0) > most:
                message = f"a user may have {most} documents; nothing was stored, delete some first"
                raise TooManyDocuments(message, code="too_many_documents")
            stored = {
                row.id: _stored(row)
                for row in connection.execute(
                    select(documents).where(owned, documents.c.id.in_(list(rows)))
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
            if connection.scalar(user_number(tenant, user)) is None:
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
        owned = (documents.c.user == user_number(tenant, user).scalar_subquery()) & (
            documents.c.id == id
        )

        def at_once() -> bool:
            with writing(self._engine) as connection:
                # locked: nothing is kept meanwhile that was made with the text
                number = connection.scalar(user_number(tenant, user).with_for_update())
                if not connection.execute(delete(documents).where(owned)).rowcount:
                    return False
                # the index holds words of the text: it goes with it, and is made anew without
                connection.execute(delete(index_parts).where(index_parts.c.user == number))
                # an adapter holds traces of it: it goes too, and is learned anew without
                connection.execute(delete(adapter_parts).where(adapter_parts.c.user == number))
                learned = (adapters.c.user == number) & adapters.c.about.is_not(None)
                anew = {"read": -1, "about": None, "last_try": None}
                connection.execute(
                    update(adapters).where(learned).values(version=adapters.c.version + 1, **anew)
                )
                changed = update(users).where(users.c.number == number)
                connection.execute(changed.values(version=users.c.version + 1))
                return True

        def in_parts() -> bool:
            if self.get(tenant, user, id) is None:
                return False
            self._delete_parts(index_parts, tenant, user)
            self._delete_parts(adapter_parts, tenant, user)
            return at_once()

        return self._taking_away(at_once, in_parts)

    def _delete_in_parts(self, tenant: str, user: str) -> None:
        """Delete a user's documents a few at a time, so that each needs little room in the log."""
        self._delete_parts(index_parts, tenant, user)
        self._delete_parts(adapter_parts, tenant, user)
        owned = documents.c.user == user_number(tenant, user).scalar_subquery()
        query = select(documents.c.number, func.length(documents.c.text)).where(owned).limit(_BATCH)
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


def _documents(tenant: str, user: str) -> Select[Any]:
    owned = documents.c.user == user_number(tenant, user).scalar_subquery()
    return select(documents).where(owned).order_by(documents.c.number)


def _row(document: Document) -> dict[str, Any]:
    text = document.text.strip()
    return {
        "id": "doc-" + hashlib.sha256(text.encode()).hexdigest()[:32],
        "text": text,
        "title": document.title.strip(),
        "date": document.date,
        "created": datetime.now(UTC),
        "edit_query": document.edit_of.query if document.edit_of else None,
        "edit_written": document.edit_of.written if document.edit_of else None,
    }


def _characters(row: dict[str, Any]) -> int:
    """Of the texts in a row that may be long."""
    return sum(len(row[name] or "") for name in ("text", "edit_query", "edit_written"))


def document_of(row: Row[Any]) -> Document:
    """The document in a row of the table."""
    written = row.edit_written
    edit = Edit(row.edit_query, written) if written is not None else None
    return Document(row.text, row.title, row.date, edit)


def _stored(row: Row[Any]) -> StoredDocument:
    return StoredDocument(row.id, document_of(row), utc(row.created))
