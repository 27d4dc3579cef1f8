"""What the page does for somebody: keep their writings, and write beside them.

It goes through the same store, limits, prompts and engine as the routes of the API.
"""

import os
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

from fastapi import FastAPI
from pydantic import Field, TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from flythinker.data.example import Document
from flythinker.data.history import read_history
from flythinker.data.prompt import Prompt
from flythinker.errors import FlyThinkerError
from flythinker.generation.backends.protocol import Engine, Piece, Pieces, Task
from flythinker.serving.api.documents import NewDocument, store_documents
from flythinker.serving.api.errors import ApiError
from flythinker.serving.api.limits import Rate
from flythinker.serving.api.schemas import MAX_USER_CHARS, USER_PATTERN, ChatRequest
from flythinker.serving.ops.metrics import Metrics
from flythinker.serving.personal import Prompter
from flythinker.serving.settings import ServerSettings
from flythinker.serving.storage.store import Store

Comparison = Literal["without thoughts", "without history"]

SHOWN_USERS = 1000
SHOWN_DOCUMENTS = 100
REFRESH_SECONDS = 0.1
"""How often at most the page is told how the texts go on."""

_USER = TypeAdapter(Annotated[str, Field(pattern=USER_PATTERN, max_length=MAX_USER_CHARS)])


@dataclass(frozen=True)
class Asked:
    """What somebody asks for on the page; `weight` is λ, `None` where there is none to choose."""

    user: str
    query: str
    comparison: Comparison
    weight: float | None
    temperature: float
    seed: int


class File(TypedDict):
    """A file of past texts; `changed` is when, in milliseconds since 1970."""

    name: str
    changed: float
    text: str


class Column:
    """One text of the page as it grows: what `column.js` draws."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.state = "waiting"
        self.note = ""
        self.tokens: list[tuple[str, float | None, Sequence[str]]] = []
        self._count = 0

    def add(self, piece: Piece) -> None:
        """Go on with the next piece."""
        self.state = "writing" if piece.finish_reason is None else "done"
        self._count += len(piece.token_ids)
        if piece.effects:
            self.tokens += [(one.text, round(one.kl, 4), one.words) for one in piece.effects]
        elif piece.text:
            self.tokens.append((piece.text, None, ()))
        moved = [kl for _, kl, _ in self.tokens if kl is not None]
        self.note = f"{self._count} tokens"
        if moved:
            self.note += f" · thoughts moved each by {sum(moved) / len(moved):.3f} nats on average"

    def value(self) -> dict[str, Any]:
        """A copy for the page."""
        return {
            "title": self.title,
            "state": self.state,
            "note": self.note,
            "tokens": list(self.tokens),
        }


@dataclass(frozen=True)
class Progress:
    """Both texts so far, and the past texts that the personal one is written from."""

    personal: dict[str, Any]
    other: dict[str, Any]
    used: dict[str, Any]


class Desk:
    """Every method takes the tenant, and none reaches beyond it."""

    def __init__(self, app: FastAPI) -> None:
        """Work with what the server's routes share in `app.state`."""
        self.store: Store = app.state.store
        self.settings: ServerSettings = app.state.settings
        self.engine: Engine = app.state.engine
        self._prompter: Prompter = app.state.prompter
        self._metrics: Metrics = app.state.metrics
        self._rate: Rate = app.state.rate
        self._running: dict[str, Pieces] = {}  # by session

    def users(self, tenant: str) -> list[str]:
        """Those who have writings, by name."""
        return self.store.users(tenant, limit=SHOWN_USERS)

    def writings(self, tenant: str, user: str) -> dict[str, Any]:
        """The user's texts, as `writings.js` lists them."""
        page = self.store.page(tenant, user, limit=SHOWN_DOCUMENTS) if user else None
        cards = [
            {
                "id": one.id,
                "title": one.document.title,
                "date": one.document.date,
                "characters": len(one.document.text),
            }
            for one in (page.documents if page else ())
        ]
        return {"user": user, "documents": cards, "more": page.has_more if page else False}

    def add(self, tenant: str, user: str, documents: Sequence[Document]) -> None:
        """Store past texts of a user, who may be new.

        Raises:
            ApiError: a bad id or text, too many of them, or too many requests.
        """
        self._rate.take(tenant)
        if not user:
            raise ApiError(400, "say first whose texts these are", "invalid_request_error")
        try:
            _USER.validate_python(user)
            new = [NewDocument(text=d.text, title=d.title, date=d.date) for d in documents]
        except ValidationError as error:
            raise _refused(error) from error
        if new:
            store_documents(self.store, self.settings, tenant, user, new)

    def add_files(self, tenant: str, user: str, files: Sequence[File]) -> int:
        """Store the texts in files as `flythinker write --history` reads them; returns how many.

        Raises:
            ApiError: see `add`. `FlyThinkerError`: a file that holds no past texts.
        """
        documents: list[Document] = []
        for file in files:
            documents += _read(file)
        self.add(tenant, user, documents)
        return len(documents)

    def remove(self, tenant: str, user: str, id: str) -> None:
        """Delete one text."""
        self._rate.take(tenant)
        self.store.delete(tenant, user, id)

    def forget(self, tenant: str, user: str) -> None:
        """Delete a user with all texts."""
        self._rate.take(tenant)
        self.store.forget(tenant, user)

    def stop(self, session: str) -> None:
        """End what is being written for a session, if anything is."""
        if pieces := self._running.pop(session, None):
            pieces.cancel()

    async def write(self, tenant: str, session: str, asked: Asked) -> AsyncIterator[Progress]:
        """Write as the user, and beside it what `asked.comparison` says.

        A session has one such pair at a time: what it was writing ends.

        Raises:
            ApiError: something asked for is refused, too much waits, or the engine fails.
        """
        self.stop(session)
        self._rate.take(tenant)
        begun = time.perf_counter()
        tasks, history = await run_in_threadpool(self._tasks, tenant, asked)
        columns = [Column(_as(asked.user)), Column(asked.comparison.capitalize())]
        used = _used(tasks[0].prompt, history)
        pieces = self._running[session] = self.engine.generate(tasks)
        self._metrics.prompt_tokens.inc(sum(len(task.prompt.prompt_ids) for task in tasks))
        shown = 0.0
        try:
            yield Progress(columns[0].value(), columns[1].value(), used)
            async for piece in self._metrics.timed(pieces, begun):
                columns[piece.index].add(piece)
                if time.monotonic() - shown >= REFRESH_SECONDS:
                    shown = time.monotonic()
                    yield Progress(columns[0].value(), columns[1].value(), used)
        finally:
            pieces.cancel()
            if self._running.get(session) is pieces:
                del self._running[session]
        for column in columns:
            if column.state != "done":
                column.state = "stopped"
        yield Progress(columns[0].value(), columns[1].value(), used)

    def _tasks(self, tenant: str, asked: Asked) -> tuple[list[Task], list[Document]]:
        """The personal text and the one beside it, and all past texts of the user."""
        if not asked.query.strip():
            raise ApiError(400, "say what to write about", "invalid_request_error", param="query")
        try:
            body = ChatRequest.model_validate(
                {
                    "model": self.settings.model_name,
                    "messages": [{"role": "user", "content": asked.query}],
                    "user": asked.user or None,
                    "temperature": asked.temperature,
                    "fusion_weight": asked.weight,
                }
            )
        except ValidationError as error:
            raise _refused(error) from error
        history = (self.store.history(tenant, asked.user) if asked.user else None) or []
        personal = self._prompter.personal(body.query, (), history)
        task = self._task(tenant, personal, body, asked)
        if asked.comparison == "without history":
            plain = self._prompter.personal(body.query)
            return [task, self._task(tenant, plain, body, asked)], history
        silent = replace(task.sampling, fusion_weight=0.0, effects=False)
        return [task, replace(task, sampling=silent)], history

    def _task(self, tenant: str, prompt: Prompt, body: ChatRequest, asked: Asked) -> Task:
        sampling = body.sampling(self._prompter.room(prompt), asked.seed, None)
        effects = self.engine.has_effects and asked.weight != 0
        return Task(prompt, replace(sampling, effects=effects), tenant)


def _as(user: str) -> str:
    return f"As {user}" if user else "As nobody in particular"


def _used(prompt: Prompt, history: Sequence[Document]) -> dict[str, Any]:
    """The past texts in a prompt, as `used.js` shows them."""
    if not history:
        note = "None: there are no past texts, so the writing is nobody's in particular."
    elif not prompt.documents:
        note = f"None of {len(history)}."
    else:
        note = f"{len(prompt.documents)} of {len(history)}, the most relevant first."
    documents = [
        {"title": one.title, "date": one.date, "text": one.text} for one in prompt.documents
    ]
    return {"documents": documents, "note": note}


def _read(file: File) -> list[Document]:
    """The past texts in a file; it is on disk while it is read, and for nobody else to see."""
    name = Path(file["name"]).name
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        try:
            path.write_text(file["text"], encoding="utf-8")
            changed = file["changed"] / 1000
            os.utime(path, (changed, changed))
            return read_history(path)
        except FlyThinkerError as error:
            raise FlyThinkerError(str(error).replace(f"{folder}/", "")) from None
        except (OSError, ValueError, TypeError) as error:
            raise FlyThinkerError(f"a file cannot be read: {type(error).__name__}") from error


def _refused(error: ValidationError) -> ApiError:
    first = error.errors()[0]
    field = str(first["loc"][0]) if first["loc"] else "user"
    return ApiError(400, f"{field}: {first['msg']}", "invalid_request_error", param=field)
