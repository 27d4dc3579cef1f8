"""Past texts of users, found by an index that is kept with the database and grows with it.

An index belongs to one user and is changed under that user's lock alone. What a request does is
bounded by what has changed since the last one: the documents that came are read and indexed, and
nothing else. Now and then it is written to the database, so that a server that starts anew reads
it instead of all texts.
"""

import logging
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Lock
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine, delete, func, insert, select

from flythinker.data.document import Document
from flythinker.disk import DiskFull
from flythinker.serving.errors import DocumentGone
from flythinker.serving.storage.base import PART_BYTES, StoreBase
from flythinker.serving.storage.database import documents, index_parts, users, writing
from flythinker.serving.storage.documents import document_of
from flythinker.serving.storage.user_index import Owner, UserIndex

logger = logging.getLogger(__name__)

_KEPT_DOCUMENTS = 200_000
"""Documents of the users who wrote last whose indexes stay in memory, 1 to 3 KB each."""

_LEAST_UNSAVED = 64
"""New documents after which an index is worth writing; of a large one an eighth of it."""

_AT_ONCE = 500
"""Documents that are read by their numbers in one query."""

_DOCUMENTS = select(documents)


class PastTexts(Sequence[Document]):
    """All documents of a user as they are now, oldest first; a text is read when it is asked for.

    Raises:
        DocumentGone: when a document is asked for that was deleted meanwhile.
    """

    def __init__(self, store: "IndexStore", index: UserIndex) -> None:
        """Called under the index's lock."""
        self._store, self._index = store, index
        self._places = list(index.order())
        self._numbers = [index.numbers[place] for place in self._places]

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Document: ...
    @overload
    def __getitem__(self, index: slice) -> list[Document]: ...
    def __getitem__(self, index: int | slice) -> Document | list[Document]:
        numbers = self._numbers[index] if isinstance(index, slice) else [self._numbers[index]]
        there = self._store.documents_of(self._index.owner, numbers)
        if len(there) < len(numbers):
            raise DocumentGone
        found = [there[number] for number in numbers]
        return found if isinstance(index, slice) else found[0]

    def __iter__(self) -> Iterator[Document]:
        for start in range(0, len(self), _AT_ONCE):
            yield from self[start : start + _AT_ONCE]

    def bm25(self, query: str) -> NDArray[np.float32]:
        """BM25 of each text for a query; float32 `[n]`."""
        with self._index.lock:
            return self._index.bm25(query, self._places)


class IndexStore(StoreBase):
    """The past texts of users, as prompts need them."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._indexes: OrderedDict[tuple[str, str], UserIndex] = OrderedDict()
        self._at_indexes = Lock()  # held for a look, never while something is read or indexed
        self._saver = ThreadPoolExecutor(1, thread_name_prefix="index")

    def close(self) -> None:
        """Finish what is being kept, and close all connections."""
        self._saver.shutdown(wait=True)
        super().close()

    def past(self, tenant: str, user: str) -> PastTexts | None:
        """All that a user wrote, undated texts and then the oldest first; None: unknown user.

        As `history`, but found by an index and read only where it is looked at.
        """
        while True:
            index = self._index_of(tenant, user)
            if index is None:
                return None
            with index.lock:
                if not self._refresh(index):
                    self._drop(tenant, user, index)
                    continue
                past = PastTexts(self, index)
                worth_keeping = index.unsaved >= max(_LEAST_UNSAVED, len(index) // 8)
                if worth_keeping:
                    index.unsaved = 0
            if worth_keeping:
                self._saver.submit(self._save, tenant, user, index)
            return past

    def index_soon(self, tenant: str, user: str) -> None:
        """Index what was added meanwhile, in a thread of its own; a prompt need not wait for it."""
        self._saver.submit(self.past, tenant, user)

    def documents_of(self, owner: Owner, numbers: Sequence[int]) -> dict[int, Document]:
        """Documents of a user by their numbers; those that are gone are left out."""
        found: dict[int, Document] = {}
        # SQLite gives the number of what was deleted to somebody else's later
        theirs = (documents.c.user == owner.number) & (users.c.epoch == owner.epoch)
        query = _DOCUMENTS.join_from(documents, users).where(theirs)
        with self._engine.connect() as connection:
            for start in range(0, len(numbers), _AT_ONCE):
                wanted = documents.c.number.in_(numbers[start : start + _AT_ONCE])
                rows = connection.execute(query.where(wanted))
                found |= {row.number: document_of(row) for row in rows}
        return found

    def _index_of(self, tenant: str, user: str) -> UserIndex | None:
        """The index in memory, else what was kept of it, else an empty one; None: unknown user."""
        with self._at_indexes:
            index = self._indexes.get((tenant, user))
            if index is not None:
                self._indexes.move_to_end((tenant, user))
                return index
        owner = self._owner(tenant, user)
        if owner is None:
            return None
        query = select(index_parts.c.data).where(index_parts.c.user == owner.number)
        with self._engine.connect() as connection:
            parts = list(connection.scalars(query.order_by(index_parts.c.part)))
        texts_of = partial(self.documents_of, owner)
        kept = UserIndex.from_parts(parts, owner, texts_of) if parts else None
        if kept is None:
            kept = UserIndex(Owner(owner.number, owner.epoch, -1), texts_of)  # knows nothing
        with self._at_indexes:
            index = self._indexes.setdefault((tenant, user), kept)
            total = sum(len(one) for one in self._indexes.values())
            while total > _KEPT_DOCUMENTS and len(self._indexes) > 1:
                total -= len(self._indexes.popitem(last=False)[1])
        return index

    def _refresh(self, index: UserIndex) -> bool:
        """Take over what has changed; False if the user is not the one of the index any more."""
        known = index.owner
        own = documents.c.user == known.number
        with self._engine.connect() as connection:
            query = select(users.c.epoch, users.c.version).where(users.c.number == known.number)
            row = connection.execute(query).one_or_none()
            if row is None or row.epoch != known.epoch:
                return False
            if row.version == known.version:
                return True
            newer = documents.c.version > known.version
            changed = connection.execute(_DOCUMENTS.where(own, newer)).all()
            count = connection.scalar(select(func.count()).where(own))
        # indexed without a connection: SQLite cannot empty its log while anybody reads in it
        index.apply(
            Owner(known.number, known.epoch, row.version),
            ((one.number, document_of(one)) for one in changed),
        )
        if len(index) != count:
            with self._engine.connect() as connection:
                there = list(connection.scalars(select(documents.c.number).where(own)))
            index.keep_only(there)
        return True

    def _save(self, tenant: str, user: str, index: UserIndex) -> None:
        """Write an index to the database, if the documents are still those it knows."""
        if self._reserve and not self._reserve.fill():
            return  # what room there is, is for deleting
        try:
            with index.lock:
                compact = index.compacted()
            rows: list[dict[str, Any]] = [
                {"user": compact.owner.number, "part": part, "data": data}
                for part, data in enumerate(compact.parts(PART_BYTES))
            ]
            with writing(self._engine) as connection:
                owner = compact.owner
                # locked: nothing is deleted meanwhile whose words would then stay here
                query = select(users.c.epoch, users.c.version).where(users.c.number == owner.number)
                row = connection.execute(query.with_for_update()).one_or_none()
                if row is None or (row.epoch, row.version) != (owner.epoch, owner.version):
                    return
                own = index_parts.c.user == owner.number
                connection.execute(delete(index_parts).where(own))
                connection.execute(insert(index_parts), rows)
            with self._at_indexes:
                if self._indexes.get((tenant, user)) is index and index.owner == compact.owner:
                    self._indexes[tenant, user] = compact
        except DiskFull:
            pass  # it is made anew when it is needed
        except Exception:
            logger.exception("a user's index could not be kept")

    def _owner(self, tenant: str, user: str) -> Owner | None:
        query = select(users.c.number, users.c.epoch, users.c.version).where(
            users.c.tenant == tenant, users.c.name == user
        )
        with self._engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        return Owner(row.number, row.epoch, row.version) if row else None

    def _drop(self, tenant: str, user: str, index: UserIndex) -> None:
        with self._at_indexes:
            if self._indexes.get((tenant, user)) is index:
                del self._indexes[tenant, user]
