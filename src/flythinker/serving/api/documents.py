"""The routes of users and their writings. Another tenant's user is as unknown as nobody's."""

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Annotated, Literal, Self

from fastapi import APIRouter, Path, Query
from fastapi.responses import StreamingResponse
from pydantic import Field, field_validator, model_validator
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from flythinker.adapter import adapter_bytes
from flythinker.data.document import Document, Edit, is_iso_date
from flythinker.serving.api.access import Tenant
from flythinker.serving.api.errors import ApiError
from flythinker.serving.api.fields import (
    DOCUMENT_PATTERN,
    MAX_USER_CHARS,
    USER_PATTERN,
    Clean,
    Strict,
)
from flythinker.serving.errors import DocumentTooLarge
from flythinker.serving.state import ServerState, State
from flythinker.serving.storage.store import StoredDocument

router = APIRouter(prefix="/v1/users")

MAX_ADDED = 1000
"""Documents that one request may add."""

UserId = Annotated[str, Path(pattern=USER_PATTERN, max_length=MAX_USER_CHARS)]
DocumentId = Annotated[str, Path(pattern=DOCUMENT_PATTERN)]
Limit = Annotated[int, Query(ge=1, le=1000)]


MAX_TITLE_CHARS = 500


class EditOf(Strict):
    """What a model wrote for the user, who then changed it."""

    query: Clean = Field(description="What was asked for.")
    written: Clean = Field(description="The text as the model wrote it.")


class NewDocument(Strict):
    """Something that the user wrote."""

    text: Clean
    title: Clean = Field("", max_length=MAX_TITLE_CHARS)
    date: str = Field("", description="Of the writing: YYYY, YYYY-MM, YYYY-MM-DD, or unknown.")
    edit_of: EditOf | None = None

    @field_validator("text")
    @classmethod
    def _check_text(cls, text: str) -> str:
        if not text.strip():
            raise ValueError("there is nothing in it")
        return text

    @field_validator("date")
    @classmethod
    def _check_date(cls, date: str) -> str:
        if date and not is_iso_date(date):
            raise ValueError("expected an ISO date like 2024, 2024-05 or 2024-05-01")
        return date

    @model_validator(mode="after")
    def _check_edit(self) -> Self:
        if self.edit_of and self.edit_of.written.strip() == self.text.strip():
            raise ValueError("an edit differs from what was written: nothing in it is changed")
        return self

    def document(self) -> Document:
        """What is stored."""
        edit = Edit(self.edit_of.query, self.edit_of.written) if self.edit_of else None
        return Document(self.text, self.title, self.date, edit)


class NewDocuments(Strict):
    """One document or many: all are stored, or none."""

    documents: list[NewDocument] = Field(min_length=1, max_length=MAX_ADDED)


class DocumentCard(TypedDict):
    """A stored document without its text; the same text is the same document, of the same id."""

    id: str
    object: Literal["document"]
    created: int
    title: str
    date: str
    characters: int
    edited: bool


class WrittenBefore(TypedDict):
    """What a model wrote for the user, who then changed it."""

    query: str
    written: str


class WholeDocument(DocumentCard):
    """A stored document; `edit_of` is null if no model had a part in it."""

    text: str
    edit_of: WrittenBefore | None


class DocumentList(TypedDict):
    """Some documents in the order they were added; with `has_more` ask again, `after` the last."""

    object: Literal["list"]
    data: list[DocumentCard]
    has_more: bool


class UserCard(TypedDict):
    """Somebody who has writings here."""

    id: str
    object: Literal["user"]


class UserList(TypedDict):
    """Some users by id; with `has_more` ask again, `after` the last."""

    object: Literal["list"]
    data: list[UserCard]
    has_more: bool


class Deleted(TypedDict):
    """What was deleted."""

    id: str
    object: Literal["user.deleted", "document.deleted"]
    deleted: Literal[True]


@router.get("")
def list_users(
    state: State,
    tenant: Tenant,
    after: Annotated[str | None, Query(pattern=USER_PATTERN, max_length=MAX_USER_CHARS)] = None,
    limit: Limit = 100,
) -> UserList:
    """The users that have writings here."""
    names = state.store.users(tenant, after or "", limit + 1)
    data: list[UserCard] = [{"id": name, "object": "user"} for name in names[:limit]]
    return {"object": "list", "data": data, "has_more": len(names) > limit}


@router.post("/{user_id}/documents")
def add_documents(
    user_id: UserId, body: NewDocuments, state: State, tenant: Tenant
) -> DocumentList:
    """Add documents; they are on disk when this is answered.

    Adding a text again changes nothing but its title and date.
    """
    stored = store_documents(state, tenant, user_id, body.documents)
    return {"object": "list", "data": [_card(document) for document in stored], "has_more": False}


def store_documents(
    state: ServerState, tenant: str, user: str, added: Sequence[NewDocument]
) -> list[StoredDocument]:
    """Store what the limits allow.

    Raises:
        DocumentTooLarge: a document is too long.
        TooManyDocuments: the user would have too many.
    """
    longest = state.settings.max_document_chars
    documents = [document.document() for document in added]
    if any(len(text) > longest for document in documents for text in _long_texts(document)):
        message = f"a document is longer than {longest} characters"
        raise DocumentTooLarge(message, param="documents", code="document_too_large")
    stored = state.store.add(tenant, user, documents, state.settings.max_documents_per_user)
    state.store.index_soon(tenant, user)
    return stored


@router.get("/{user_id}/documents")
def list_documents(
    user_id: UserId,
    state: State,
    tenant: Tenant,
    after: Annotated[str | None, Query(pattern=DOCUMENT_PATTERN)] = None,
    limit: Limit = 100,
) -> DocumentList:
    """The user's documents, in the order they were added, without their texts."""
    page = state.store.page(tenant, user_id, after, limit)
    if page is None:
        raise _unknown("user" if after is None else "user or document")
    data = [_card(document) for document in page.documents]
    return {"object": "list", "data": data, "has_more": page.has_more}


@router.delete("/{user_id}/documents")
def forget_user(user_id: UserId, state: State, tenant: Tenant) -> Deleted:
    """Forget the user: delete all documents, and what was learned from them."""
    if not state.writing.forget(tenant, user_id):
        raise _unknown("user")
    return {"id": user_id, "object": "user.deleted", "deleted": True}


@router.get("/{user_id}/documents/{document_id}")
def get_document(
    user_id: UserId, document_id: DocumentId, state: State, tenant: Tenant
) -> WholeDocument:
    """One document with its text."""
    stored = state.store.get(tenant, user_id, document_id)
    if stored is None:
        raise _unknown("user or document")
    edit = stored.document.edit_of
    before: WrittenBefore | None = {"query": edit.query, "written": edit.written} if edit else None
    return {**_card(stored), "text": stored.document.text, "edit_of": before}


@router.delete("/{user_id}/documents/{document_id}")
def delete_document(
    user_id: UserId, document_id: DocumentId, state: State, tenant: Tenant
) -> Deleted:
    """Delete one document; what was learned is forgotten with it, and learned anew without."""
    if not state.writing.delete(tenant, user_id, document_id):
        raise _unknown("user or document")
    return {"id": document_id, "object": "document.deleted", "deleted": True}


@router.get(
    "/{user_id}/export",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/jsonl": {"schema": {"type": "string"}}}}},
)
def export_documents(user_id: UserId, state: State, tenant: Tenant) -> StreamingResponse:
    """All documents, one `{"text", "title", "date"}` a line, as `flythinker` reads histories.

    An edit has `"edit_of": {"query", "written"}` too. What was learned of the user is in a last
    line: what it is, and its file in base64.
    """
    if not state.store.knows(tenant, user_id):
        raise _unknown("user")

    def lines() -> Iterator[str]:
        for stored in state.store.all(tenant, user_id):
            yield json.dumps(stored.document.record(), ensure_ascii=False) + "\n"
        if found := state.store.adapter(tenant, user_id):
            _, adapter = found
            data = base64.b64encode(adapter_bytes(adapter)).decode()
            yield json.dumps({"adapter": asdict(adapter.about), "safetensors": data}) + "\n"

    return StreamingResponse(lines(), media_type="application/jsonl")


def _long_texts(document: Document) -> Iterator[str]:
    yield document.text
    if document.edit_of:
        yield from (document.edit_of.query, document.edit_of.written)


def _card(stored: StoredDocument) -> DocumentCard:
    document = stored.document
    return {
        "id": stored.id,
        "object": "document",
        "created": int(stored.created.timestamp()),
        "title": document.title,
        "date": document.date,
        "characters": len(document.text),
        "edited": document.edit_of is not None,
    }


def _unknown(what: str) -> ApiError:
    return ApiError(404, f"no such {what}", code="not_found")
