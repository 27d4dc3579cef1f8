"""Two texts side by side on the page: one as the user, and one without thoughts or history."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from flythinker.data.document import Document
from flythinker.data.language import language_of
from flythinker.data.prompt import Prompt
from flythinker.generation.backends.protocol import Piece
from flythinker.serving.api.errors import invalid_field
from flythinker.serving.api.schemas import ChatRequest
from flythinker.serving.errors import BadRequest
from flythinker.serving.service import TextStream, WritingRequest
from flythinker.serving.state import ServerState

Baseline = Literal["without thoughts", "without history"]

REFRESH_SECONDS = 0.1
"""How often at most the page is told how the texts go on."""


class Progress(NamedTuple):
    """Both texts so far, and the past texts that the personal one is written from."""

    personal: dict[str, Any]
    baseline: dict[str, Any]
    used: dict[str, Any]


@dataclass
class Column:
    """One text of the page as it grows: what `column.js` draws.

    Attributes:
        language: of the text, ISO 639; empty where unknown.
        query, user: what was asked for, and as whom; a text without a query is not to be edited.
        written, kept: the text as it was written, and the id of what its person made of it.
    """

    title: str
    state: str = "waiting"
    note: str = ""
    tokens: list[tuple[str, float | None, Sequence[str]]] = field(default_factory=list)
    count: int = 0
    language: str = ""
    query: str = ""
    user: str = ""
    written: str = ""
    kept: str = ""

    def add(self, piece: Piece) -> None:
        """Go on with the next piece."""
        self.state = "writing" if piece.finish_reason is None else "done"
        self.count += len(piece.token_ids)
        if piece.effects:
            self.tokens += [(each.text, round(each.kl, 4), each.words) for each in piece.effects]
        elif piece.text:
            self.tokens.append((piece.text, None, ()))
        moved = [kl for _, kl, _ in self.tokens if kl is not None]
        self.note = f"{self.count} tokens"
        if moved:
            self.note += f" · thoughts moved each by {sum(moved) / len(moved):.3f} nats on average"

    def value(self) -> dict[str, Any]:
        """A copy for the page."""
        return vars(self) | {"tokens": list(self.tokens)}


class Comparisons:
    """Writes pairs of texts; a session of the page has one pair at a time."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._running: dict[str, TextStream] = {}  # by session

    def stop(self, session: str) -> None:
        """End what is being written for a session, if anything is."""
        if stream := self._running.pop(session, None):
            stream.cancel()

    async def write(
        self, tenant: str, session: str, query: str, baseline: Baseline, **options: Any
    ) -> AsyncIterator[Progress]:
        """Write as the user, and beside it what `baseline` says, with the same seed.

        What the session was writing before ends. `options` are fields of `ChatRequest`.

        Raises:
            Refused: something asked for is wrong, or too much is asked for.
            EngineError: too much waits, or the engine fails.
        """
        self.stop(session)
        self._state.rate.take(tenant)
        body = _chat_request(query, options | {"model": self._state.settings.model_name})
        stream = await self._state.writing.write(tenant, self._requests(body, baseline), body)
        self._running[session] = stream
        language = language_tag(query)
        columns = [
            Column(column_title(body.user), language=language, query=query, user=body.user or ""),
            Column(baseline.capitalize(), language=language),
        ]
        used = _used(stream.prompts[0], stream.histories[0])

        def now() -> Progress:
            return Progress(columns[0].value(), columns[1].value(), used)

        shown = 0.0
        try:
            with closing(stream):
                yield now()
                async for piece in stream.pieces():
                    columns[piece.index].add(piece)
                    if time.monotonic() - shown >= REFRESH_SECONDS:
                        shown = time.monotonic()
                        yield now()
        finally:
            if self._running.get(session) is stream:
                del self._running[session]
        for column in columns:
            if column.state != "done":
                column.state = "stopped"
        yield now()

    def _requests(self, body: ChatRequest, baseline: Baseline) -> list[WritingRequest]:
        """The personal text, with what its thoughts do, and the baseline."""
        (personal,) = body.writing_requests()
        (sampling,) = personal.samplings
        effects = self._state.engine.has_effects and body.fusion_weight != 0
        shaded = replace(sampling, effects=effects)
        if baseline == "without history":
            personal = replace(personal, samplings=[shaded])
            return [personal, replace(personal, user=None)]
        return [replace(personal, samplings=[shaded, replace(sampling, fusion_weight=0.0)])]


def column_title(user: str | None) -> str:
    """What stands above the text of a user."""
    return f"As {user}" if user else "As nobody in particular"


def language_tag(text: str) -> str:
    """The language of a text as a page names it; empty where unknown."""
    return language_of(text).removeprefix("und")


def _chat_request(query: str, options: dict[str, Any]) -> ChatRequest:
    """What a client of the API would send, checked in the same way."""
    if not query.strip():
        raise BadRequest("say what to write about", param="query")
    messages = [{"role": "user", "content": query}]
    try:
        return ChatRequest.model_validate(options | {"messages": messages})
    except ValidationError as error:
        raise invalid_field(error) from error


def _used(prompt: Prompt, history: Sequence[Document]) -> dict[str, Any]:
    """The past texts in a prompt, as `used.js` shows them."""
    if not history:
        note = "None: there are no past texts, so the writing is nobody's in particular."
    elif not prompt.documents:
        note = f"None of {len(history)}."
    else:
        note = f"{len(prompt.documents)} of {len(history)}, the most relevant first."
    documents = [
        {
            "title": document.title,
            "date": document.date,
            "text": document.text,
            "language": language_tag(document.text),
        }
        for document in prompt.documents
    ]
    return {"documents": documents, "note": note}
