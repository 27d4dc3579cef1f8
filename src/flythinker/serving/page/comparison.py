"""Two texts side by side on the page: one as the user, and one without thoughts or history."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import ValidationError

from flythinker.data.example import Document
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


@dataclass(frozen=True)
class ComparisonRequest:
    """What is asked for on the page; `fusion_weight` is `None` where there is none to choose."""

    user: str
    query: str
    baseline: Baseline
    fusion_weight: float | None
    temperature: float
    seed: int


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
            self.tokens += [(each.text, round(each.kl, 4), each.words) for each in piece.effects]
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
    baseline: dict[str, Any]
    used: dict[str, Any]


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
        self, tenant: str, session: str, wanted: ComparisonRequest
    ) -> AsyncIterator[Progress]:
        """Write as the user, and beside it what `wanted.baseline` says.

        What the session was writing before ends.

        Raises:
            Refused: something asked for is wrong, or too much is asked for.
            EngineError: too much waits, or the engine fails.
        """
        self.stop(session)
        self._state.rate.take(tenant)
        body = _chat_request(wanted, self._state.settings.model_name)
        requests = self._requests(body, wanted)
        stream = await self._state.writing.write(tenant, requests, body)
        self._running[session] = stream
        title = f"As {wanted.user}" if wanted.user else "As nobody in particular"
        columns = [Column(title), Column(wanted.baseline.capitalize())]
        used = _used(stream.prompts[0], stream.histories[0])
        shown = 0.0
        try:
            with closing(stream):
                yield Progress(columns[0].value(), columns[1].value(), used)
                async for piece in stream.pieces():
                    columns[piece.index].add(piece)
                    if time.monotonic() - shown >= REFRESH_SECONDS:
                        shown = time.monotonic()
                        yield Progress(columns[0].value(), columns[1].value(), used)
        finally:
            if self._running.get(session) is stream:
                del self._running[session]
        for column in columns:
            if column.state != "done":
                column.state = "stopped"
        yield Progress(columns[0].value(), columns[1].value(), used)

    def _requests(self, body: ChatRequest, wanted: ComparisonRequest) -> list[WritingRequest]:
        """The personal text and the baseline, drawn with the same seed."""
        personal = body.writing_request()
        (sampling,) = personal.samplings
        effects = self._state.engine.has_effects and wanted.fusion_weight != 0
        shaded = replace(sampling, effects=effects)
        if wanted.baseline == "without history":
            personal = replace(personal, samplings=[shaded])
            return [personal, replace(personal, user=None)]
        return [replace(personal, samplings=[shaded, replace(sampling, fusion_weight=0.0)])]


def _chat_request(wanted: ComparisonRequest, model: str) -> ChatRequest:
    """The same as a client of the API would ask for, with the same checks."""
    if not wanted.query.strip():
        raise BadRequest("say what to write about", param="query")
    try:
        return ChatRequest.model_validate(
            {
                "model": model,
                "messages": [{"role": "user", "content": wanted.query}],
                "user": wanted.user or None,
                "temperature": wanted.temperature,
                "fusion_weight": wanted.fusion_weight,
                "seed": wanted.seed,
            }
        )
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
        {"title": document.title, "date": document.date, "text": document.text}
        for document in prompt.documents
    ]
    return {"documents": documents, "note": note}
