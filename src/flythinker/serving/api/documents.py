"""The routes of users and their writings. Another tenant's user is as unknown as nobody's."""

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import StreamingResponse
from pydantic import Field, field_validator
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from flythinker.adapter import adapter_bytes
from flythinker.data.document import Document, is_iso_date
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


class NewDocument(Strict):
    """Something that the user wrote."""

    text: Clean
    title: Clean = Field("", max_length=500)
    date: str = Field("", description="Of the writing: YYYY, YYYY-MM, YYYY-MM-DD, or unknown.")

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


class WholeDocument(DocumentCard):
    """A stored document."""

    text: str


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
    if any(len(document.text) > longest for document in added):
        message = f"a document is longer than {longest} characters"
        raise DocumentTooLarge(message, param="documents", code="document_too_large")
    documents = [Document(document.text, document.title, document.date) for document in added]
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
    return {**_card(stored), "text": stored.document.text}


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

    What was learned of the user is in a last line: what it is, and its file in base64.
    """
    if not state.store.knows(tenant, user_id):
        raise _unknown("user")

    def lines() -> Iterator[str]:
        for stored in state.store.all(tenant, user_id):
            yield json.dumps(asdict(stored.document), ensure_ascii=False) + "\n"
        if found := state.store.adapter(tenant, user_id):
            _, adapter = found
            data = base64.b64encode(adapter_bytes(adapter)).decode()
            yield json.dumps({"adapter": asdict(adapter.about), "safetensors": data}) + "\n"

    return StreamingResponse(lines(), media_type="application/jsonl")


def _card(stored: StoredDocument) -> DocumentCard:
    document = stored.document
    return {
        "id": stored.id,
        "object": "document",
        "created": int(stored.created.timestamp()),
        "title": document.title,
        "date": document.date,
        "characters": len(document.text),
    }


def _unknown(what: str) -> ApiError:
    return ApiError(404, f"no such {what}", code="not_found")
