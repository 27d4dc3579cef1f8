"""What an answer looks like: OpenAI's objects for chat completions and for completions."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from flythinker.generation.backends.protocol import Piece, TokenLogprob, TokenText


class Usage(TypedDict):
    """Tokens read and written."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Likely(TypedDict):
    """A token and its log-probability; `bytes` is null for a part of a character."""

    token: str
    logprob: float
    bytes: list[int] | None


class ChatToken(Likely):
    """A token that was written, and the likeliest in its place."""

    top_logprobs: list[Likely]


class ChatLogprobs(TypedDict):
    """Of all tokens of a message."""

    content: list[ChatToken]
    refusal: None


class ChatMessage(TypedDict):
    """The text that was written."""

    role: Literal["assistant"]
    content: str
    refusal: None


class ChatChoice(TypedDict):
    """One of the `n` texts."""

    index: int
    message: ChatMessage
    logprobs: ChatLogprobs | None
    finish_reason: str


class ChatCompletion(TypedDict):
    """The answer of `/v1/chat/completions`."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class TextLogprobs(TypedDict):
    """Of all tokens of a text, one entry a token."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class TextChoice(TypedDict):
    """One of the texts."""

    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: str | None


class Completion(TypedDict):
    """The answer of `/v1/completions`."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage


class ModelCard(TypedDict):
    """What is served; `max_model_len` tokens are the most that prompt and text may have."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: Literal["flythinker"]
    max_model_len: int


class ModelList(TypedDict):
    """The answer of `/v1/models`."""

    object: Literal["list"]
    data: list[ModelCard]


@dataclass
class Written:
    """One whole text, put together from its pieces."""

    index: int
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish_reason: str | None = None

    def add(self, piece: Piece) -> None:
        """Go on with the next piece."""
        self.text += piece.text
        self.token_ids += piece.token_ids
        self.logprobs += piece.logprobs
        self.finish_reason = piece.finish_reason


class Form(Protocol):
    """How one kind of completion is written down."""

    name: str
    chunk_name: str
    id_prefix: str

    def choice(self, written: Written) -> dict[str, Any]:
        """A whole text."""
        ...

    def beginning(self, index: int) -> dict[str, Any] | None:
        """What a stream says before the first piece of a text, if anything."""
        ...

    def deltas(self, piece: Piece, before: Written) -> list[dict[str, Any]]:
        """A piece, in a stream, after what was written `before` it."""
        ...


@dataclass
class ChatForm:
    """See `Form`."""

    logprobs: bool
    name: str = "chat.completion"
    chunk_name: str = "chat.completion.chunk"
    id_prefix: str = "chatcmpl-"

    def choice(self, written: Written) -> dict[str, Any]:
        """See `Form`."""
        return {
            "index": written.index,
            "message": {"role": "assistant", "content": written.text, "refusal": None},
            "logprobs": self._logprobs(written.logprobs),
            "finish_reason": written.finish_reason,
        }

    def beginning(self, index: int) -> dict[str, Any] | None:
        """See `Form`: who speaks."""
        delta = {"role": "assistant", "content": "", "refusal": None}
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}

    def deltas(self, piece: Piece, before: Written) -> list[dict[str, Any]]:
        """See `Form`: the end is a delta of its own, without text."""
        deltas: list[dict[str, Any]] = []
        if piece.text or piece.logprobs:
            deltas.append({"delta": {"content": piece.text}, "finish_reason": None})
            deltas[0]["logprobs"] = self._logprobs(piece.logprobs)
        if piece.finish_reason is not None:
            deltas.append({"delta": {}, "logprobs": None, "finish_reason": piece.finish_reason})
        return [{"index": piece.index} | delta for delta in deltas]

    def _logprobs(self, tokens: Sequence[TokenLogprob]) -> dict[str, Any] | None:
        if not self.logprobs:
            return None
        content = [
            _likely(one.token) | {"top_logprobs": [_likely(other) for other in one.top]}
            for one in tokens
        ]
        return {"content": content, "refusal": None}


@dataclass
class TextForm:
    """See `Form`."""

    logprobs: bool
    token_ids: bool
    name: str = "text_completion"
    chunk_name: str = "text_completion"
    id_prefix: str = "cmpl-"

    def choice(self, written: Written) -> dict[str, Any]:
        """See `Form`."""
        return self._choice(written, offset=0)

    def beginning(self, index: int) -> dict[str, Any] | None:
        """See `Form`: nothing."""
        return None

    def deltas(self, piece: Piece, before: Written) -> list[dict[str, Any]]:
        """See `Form`."""
        part = Written(piece.index)
        part.add(piece)
        return [self._choice(part, sum(len(one.token.text) for one in before.logprobs))]

    def _choice(self, written: Written, offset: int) -> dict[str, Any]:
        choice = {
            "index": written.index,
            "text": written.text,
            "logprobs": self._logprobs(written.logprobs, offset),
            "finish_reason": written.finish_reason,
        }
        return choice | ({"token_ids": written.token_ids} if self.token_ids else {})

    def _logprobs(self, tokens: Sequence[TokenLogprob], offset: int) -> dict[str, Any] | None:
        if not self.logprobs:
            return None
        offsets = []
        for one in tokens:
            offsets.append(offset)
            offset += len(one.token.text)
        return {
            "tokens": [one.token.text for one in tokens],
            "token_logprobs": [one.token.logprob for one in tokens],
            "top_logprobs": [{other.text: other.logprob for other in one.top} for one in tokens],
            "text_offset": offsets,
        }


def usage(prompt_tokens: int, completion_tokens: int) -> Usage:
    """Tokens of a request, all its texts together; a prompt counts once however large `n`."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def _likely(token: TokenText) -> dict[str, Any]:
    whole = "�" not in token.text
    raw = list(token.text.encode()) if whole else None
    return {"token": token.text, "logprob": token.logprob, "bytes": raw}
