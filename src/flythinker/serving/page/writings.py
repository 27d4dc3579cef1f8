"""Users' past texts on the page, through the same store and limits as by the API."""

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from flythinker.data.document import Document
from flythinker.data.sources.read import read_path
from flythinker.data.sources.reading import Reading
from flythinker.data.sources.summary import Summary, summarize
from flythinker.errors import FlyThinkerError
from flythinker.serving.api.documents import NewDocument, store_documents
from flythinker.serving.api.errors import invalid_field
from flythinker.serving.api.fields import MAX_USER_CHARS, USER_PATTERN
from flythinker.serving.errors import BadRequest
from flythinker.serving.state import ServerState
from flythinker.serving.storage.store import StoredDocument

SHOWN_USERS = 1000
SHOWN_DOCUMENTS = 100
MAX_UNPACKED = 2**28
"""Bytes that an archive may unpack to: it comes from anybody who may use the page."""

_USER = TypeAdapter(Annotated[str, Field(pattern=USER_PATTERN, max_length=MAX_USER_CHARS)])


class Writings:
    """Shows and changes users' past texts; every method takes the tenant, and stays with it."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._store = state.store

    def users(self, tenant: str) -> list[str]:
        """Those who have writings, by name."""
        return self._store.users(tenant, limit=SHOWN_USERS)

    def shown(self, tenant: str, user: str) -> dict[str, Any]:
        """The user's texts, as `writings.js` lists them."""
        page = self._store.page(tenant, user, limit=SHOWN_DOCUMENTS) if user else None
        cards = [
            {
                "id": stored.id,
                "title": stored.document.title,
                "date": stored.document.date,
                "characters": len(stored.document.text),
                "edited": stored.document.edit_of is not None,
            }
            for stored in (page.documents if page else ())
        ]
        return {"user": user, "documents": cards, "more": page.has_more if page else False}

    def add(
        self, tenant: str, user: str, documents: Sequence[Document]
    ) -> Sequence[StoredDocument]:
        """Store past texts of a user, who may be new.

        Raises:
            Refused: a bad id or text, too many of them, or too many requests.
        """
        self._state.rate.take(tenant)
        if not user:
            raise BadRequest("say first whose texts these are")
        try:
            _USER.validate_python(user)
        except ValidationError as error:
            raise invalid_field(error, otherwise="user") from error
        try:
            added = [NewDocument.model_validate(asdict(document)) for document in documents]
        except ValidationError as error:
            raise invalid_field(error) from error
        return store_documents(self._state, tenant, user, added) if added else ()

    def add_files(self, tenant: str, user: str, files: Sequence[Mapping[str, Any]]) -> Summary:
        """Store the texts in files as `flythinker import` reads them; says what came of each.

        A file has a `name`, its `data` in base64, and when it `changed`, in milliseconds since
        1970. One that cannot be read is left out and named.

        Raises:
            Refused: see `add`.
            FlyThinkerError: none of the files holds past texts; says why the first does not.
        """
        reading = Reading(max_unpacked=MAX_UNPACKED)
        documents: list[Document] = []
        for file in files:
            try:
                documents += _read(file, reading)
            except FlyThinkerError as error:
                if len(files) == 1:
                    raise
                reading.skip(*_place_and_reason(str(error)))
        if not documents and reading.skipped:
            first = reading.skipped[0]
            raise FlyThinkerError(f"{first.where}: {first.what}")
        self.add(tenant, user, list(dict.fromkeys(documents)))
        return summarize(reading)

    def remove(self, tenant: str, user: str, id: str) -> None:
        """Delete one text."""
        self._state.rate.take(tenant)
        self._state.writing.delete(tenant, user, id)

    def forget(self, tenant: str, user: str) -> None:
        """Delete a user with all texts."""
        self._state.rate.take(tenant)
        self._state.writing.forget(tenant, user)


def _read(file: Mapping[str, Any], reading: Reading) -> list[Document]:
    """The past texts in a file; it is on disk while it is read, and for nobody else to see."""
    name = Path(file["name"]).name
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        told = Reading(max_unpacked=reading.max_unpacked)
        try:
            path.write_bytes(base64.b64decode(file["data"], validate=True))
            changed = file["changed"] / 1000
            os.utime(path, (changed, changed))
            documents = read_path(path, told)
        except FlyThinkerError as error:
            raise FlyThinkerError(str(error).replace(f"{folder}/", "")) from None
        except (OSError, ValueError, TypeError) as error:
            raise FlyThinkerError(f"a file cannot be read: {type(error).__name__}") from error
    reading.take_over(told, f"{folder}/")
    return documents


def _place_and_reason(message: str) -> tuple[str, str]:
    """An error's file and the rest of it."""
    place, _, reason = message.partition(": ")
    return (place, reason) if reason else ("a file", message)
