"""What was learned of users: one adapter each, and what the last try came to."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, case, delete, func, insert, select

from flythinker.adapter import About, Adapter, adapter_bytes, parse_adapter
from flythinker.data.document import Document
from flythinker.data.words import count_words
from flythinker.serving.storage.base import PART_BYTES, StoreBase
from flythinker.serving.storage.database import (
    adapter_parts,
    adapters,
    documents,
    users,
    writing,
)
from flythinker.serving.storage.documents import document_of
from flythinker.serving.storage.user_index import Owner


@dataclass(frozen=True)
class Try:
    """What came of learning a user.

    Attributes:
        when: ISO 8601.
        why: nothing was learned; empty where something was.
        about: the adapter that was judged, kept or not; `None`: it did not come to that.
    """

    when: str
    why: str
    about: About | None


@dataclass(frozen=True)
class AdapterRecord:
    """What is known of a user beyond the documents.

    Attributes:
        version: grows with every change.
        about: the adapter in use; `None`: there is none.
        last_try: the newest; `None`: there was none, or what it learned was forgotten.
    """

    version: int
    about: About | None
    last_try: Try | None


@dataclass(frozen=True)
class AdapterKey:
    """Names one adapter for ever: no other one has the same, whoever it is of.

    Attributes:
        number, epoch: of the user.
        version: of the `AdapterRecord`.
        base: the fingerprint of the model that it changes.
    """

    number: int
    epoch: int
    version: int
    base: str


@dataclass(frozen=True)
class Candidate:
    """A user with documents that no try has read.

    Attributes:
        tenant, user: who it is.
        owner: the state of the documents.
        read: those of later versions than this are new.
    """

    tenant: str
    user: str
    owner: Owner
    read: int


@dataclass(frozen=True)
class Material:
    """What is learned from, and what must still be so when the outcome is kept.

    Attributes:
        owner: the state of the documents.
        version: of the `AdapterRecord`, 0 where there is none.
        texts: ids and documents.
    """

    owner: Owner
    version: int
    texts: dict[str, Document]


class AdapterStore(StoreBase):
    """Adapters of tenants' users. One is kept only of a user and of texts that are still there."""

    def adapter_record(self, tenant: str, user: str) -> AdapterRecord | None:
        """What is known of a user; `None`: nothing."""
        query = select(adapters).join(users).where(*_is(tenant, user))
        with self._engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        if row is None or (row.about is None and row.last_try is None):
            return None
        about = About(**json.loads(row.about)) if row.about else None
        return AdapterRecord(row.version, about, _try(row.last_try) if row.last_try else None)

    def adapter_key(self, tenant: str, user: str) -> AdapterKey | None:
        """Which adapter the user has now; `None`: none."""
        with self._engine.connect() as connection:
            row = connection.execute(_keys().where(*_is(tenant, user))).one_or_none()
        return _key(row) if row else None

    def adapter(self, tenant: str, user: str) -> tuple[AdapterKey, Adapter] | None:
        """The adapter that the user has now."""
        # one statement, so that all parts are of one version
        query = _keys().add_columns(adapter_parts.c.data).where(*_is(tenant, user))
        query = query.join(adapter_parts, adapter_parts.c.user == users.c.number)
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(adapter_parts.c.part)).all()
        if not rows:
            return None
        return _key(rows[0]), parse_adapter(b"".join(row.data for row in rows), "stored adapter")

    def adapter_count(self) -> int:
        """How many users have one."""
        query = select(func.count()).select_from(adapters).where(adapters.c.about.is_not(None))
        with self._engine.connect() as connection:
            return connection.scalar(query) or 0

    def candidates(self, base: str) -> list[Candidate]:
        """Users with texts that no try for the model `base` has read, least tried first."""
        told = adapters.c.base.in_(["", base])
        read = func.coalesce(case((told, adapters.c.read), else_=-1), -1).label("read")
        query = select(users, read).outerjoin(adapters).where(users.c.version > read)
        query = query.order_by(func.coalesce(adapters.c.version, 0), users.c.number)
        with self._engine.connect() as connection:
            rows = connection.execute(query).all()
        return [
            Candidate(row.tenant, row.name, Owner(row.number, row.epoch, row.version), row.read)
            for row in rows
        ]

    def new_words(self, candidate: Candidate, enough: int) -> int:
        """Words of the texts that no try has read; of many only until there are `enough`."""
        theirs = documents.c.user == candidate.owner.number
        query = select(documents.c.text).where(theirs, documents.c.version > candidate.read)
        words = 0
        with self._engine.connect() as connection:
            for text in connection.execution_options(yield_per=20).scalars(query):
                words += count_words(text)
                if words >= enough:
                    break
        return words

    def material(self, tenant: str, user: str) -> Material | None:
        """What there is to learn a user from; `None`: unknown user."""
        query = select(users, adapters.c.version.label("learned")).outerjoin(adapters)
        with self._engine.connect() as connection:
            state = connection.execute(query.where(*_is(tenant, user))).one_or_none()
            if state is None:
                return None
            rows = connection.execute(select(documents).where(documents.c.user == state.number))
            texts = {row.id: document_of(row) for row in rows}
        owner = Owner(state.number, state.epoch, state.version)
        return Material(owner, state.learned or 0, texts)

    def keep_adapter(self, material: Material, adapter: Adapter) -> bool:
        """Put an adapter in the place of an older one.

        False, and nothing is changed, if the user or a text is gone, or what was learned of the
        user was changed or forgotten meanwhile.

        Raises:
            DiskFull: there is no room for it.
        """
        return self._note(material, adapter.about.base, "", adapter.about, adapter_bytes(adapter))

    def note_failure(
        self, material: Material, base: str, why: str, about: About | None = None
    ) -> bool:
        """Remember that nothing was learned; as `keep_adapter`.

        An older adapter stays if it is of the model `base`.
        """
        return self._note(material, base, why, about, None)

    def forget_adapter(self, tenant: str, user: str) -> bool:
        """Forget what was learned, and learn nothing before new texts come.

        Whether there is such a user.
        """

        def at_once() -> bool:
            with writing(self._engine) as connection:
                query = select(users).where(*_is(tenant, user)).with_for_update()
                row = connection.execute(query).one_or_none()
                if row is None:
                    return False
                connection.execute(delete(adapter_parts).where(adapter_parts.c.user == row.number))
                gone = {"read": row.version, "base": "", "about": None, "last_try": None}
                self._set(connection, row.number, gone)
                return True

        def in_parts() -> bool:
            self._delete_parts(adapter_parts, tenant, user)
            return at_once()

        found = self._taking_away(at_once, in_parts)
        if found:
            self._empty_log()
        return found

    def _note(
        self, material: Material, base: str, why: str, about: About | None, data: bytes | None
    ) -> bool:
        owner = material.owner
        with self._adding(len(data or b"")) as connection:
            older = self._unchanged(connection, material)
            if older is None:
                return False
            when = datetime.now(UTC).isoformat(timespec="seconds")
            said = json.dumps(asdict(Try(when, why, about)))
            changed: dict[str, Any] = {"read": owner.version, "base": base, "last_try": said}
            if data or (older and json.loads(older)["base"] != base):
                changed["about"] = json.dumps(asdict(about)) if data and about else None
                own = adapter_parts.c.user == owner.number
                connection.execute(delete(adapter_parts).where(own))
            self._set(connection, owner.number, changed)
            if data:
                starts = enumerate(range(0, len(data), PART_BYTES))
                parts = [(part, data[start : start + PART_BYTES]) for part, start in starts]
                rows = [{"user": owner.number, "part": part, "data": data} for part, data in parts]
                connection.execute(insert(adapter_parts), rows)
            return True

    def _unchanged(self, connection: Connection, material: Material) -> str | None:
        """What the adapter in use is said to be, empty if there is none; `None`: see `_note`."""
        owner = material.owner
        # locked first: what is read after that stays so
        query = select(users.c.epoch).where(users.c.number == owner.number)
        if connection.scalar(query.with_for_update()) != owner.epoch:
            return None
        own = select(adapters.c.version, adapters.c.about).where(adapters.c.user == owner.number)
        row = connection.execute(own).one_or_none()
        ids = select(documents.c.id).where(documents.c.user == owner.number)
        gone = material.texts.keys() - set(connection.scalars(ids))
        if gone or (row.version if row else 0) != material.version:
            return None
        return (row.about or "") if row else ""

    def _set(self, connection: Connection, number: int, changed: dict[str, Any]) -> None:
        new = self._upsert(adapters).values(user=number, version=1, **changed)
        grown = changed | {"version": adapters.c.version + 1}
        connection.execute(new.on_conflict_do_update(index_elements=["user"], set_=grown))


def _is(tenant: str, user: str) -> tuple[Any, Any]:
    return users.c.tenant == tenant, users.c.name == user


def _keys() -> Select[Any]:
    state = users.c.number, users.c.epoch, adapters.c.version, adapters.c.about
    return select(*state).join_from(users, adapters).where(adapters.c.about.is_not(None))


def _key(row: Row[Any]) -> AdapterKey:
    return AdapterKey(row.number, row.epoch, row.version, json.loads(row.about)["base"])


def _try(said: str) -> Try:
    noted = json.loads(said)
    return Try(**noted | {"about": About(**noted["about"]) if noted["about"] else None})
