"""What answers look like: OpenAI's objects for chat completions and for completions.

They are plain dictionaries, built for every token of a stream; their types are `openai.types`'.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from openai.types import Completion, CompletionChoice
from openai.types.completion_choice import Logprobs

from flythinker.generation.backends.protocol import Piece, TokenLogprob, TokenText
from flythinker.serving.service import TextStream, WrittenText


class EchoedLogprobs(Logprobs):
    """OpenAI's, as they are: a prompt's first token follows nothing, and has `null`."""

    token_logprobs: list[float | None] | None = None  # type: ignore[assignment]
    top_logprobs: list[dict[str, float] | None] | None = None  # type: ignore[assignment]


class EchoedChoice(CompletionChoice):
    """A text of a completion, which may begin with the prompt."""

    logprobs: EchoedLogprobs | None = None


class EchoedCompletion(Completion):
    """The answer of `/v1/completions`."""

    choices: list[EchoedChoice]  # type: ignore[assignment]


@dataclass(frozen=True)
class ChatFormat:
    """How the texts of a chat completion are written down; `logprobs`: with log-probabilities."""

    logprobs: bool
    name = "chat.completion"
    chunk_name = "chat.completion.chunk"
    id_prefix = "chatcmpl-"

    def choice(self, index: int, written: WrittenText) -> dict[str, Any]:
        """A whole text."""
        return {
            "index": index,
            "message": {"role": "assistant", "content": written.text, "refusal": None},
            "logprobs": self._logprobs(written.logprobs),
            "finish_reason": written.finish_reason,
        }

    def beginning(self, index: int) -> dict[str, Any] | None:
        """What a stream says before the first piece of a text: who speaks."""
        delta = {"role": "assistant", "content": "", "refusal": None}
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}

    def deltas(self, piece: Piece, written: WrittenText) -> list[dict[str, Any]]:
        """A piece in a stream; the end of a text is a delta of its own, without text."""
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
        return {"content": token_logprobs(tokens), "refusal": None}


@dataclass(frozen=True)
class CompletionFormat:
    """How the texts of a completion are written down.

    `logprobs`: with log-probabilities; `token_ids`: with the tokens' ids; `tokens_as_ids`: with
    `token_id:ID` in place of tokens.
    """

    logprobs: bool
    token_ids: bool
    tokens_as_ids: bool
    name = "text_completion"
    chunk_name = "text_completion"
    id_prefix = "cmpl-"

    def choice(self, index: int, written: WrittenText) -> dict[str, Any]:
        """A whole text."""
        return self._choice(index, written, before=[])

    def beginning(self, index: int) -> dict[str, Any] | None:
        """What a stream says before the first piece of a text: nothing."""
        return None

    def deltas(self, piece: Piece, written: WrittenText) -> list[dict[str, Any]]:
        """A piece in a stream, the last one of what is `written` so far."""
        before = written.logprobs[: len(written.logprobs) - len(piece.logprobs)]
        return [self._choice(piece.index, piece, before)]

    def _choice(
        self, index: int, written: WrittenText | Piece, before: Sequence[TokenLogprob]
    ) -> dict[str, Any]:
        choice = {
            "index": index,
            "text": written.text,
            "logprobs": self._logprobs(written.logprobs, before),
            "finish_reason": written.finish_reason,
        }
        return choice | ({"token_ids": list(written.token_ids)} if self.token_ids else {})

    def _logprobs(
        self, tokens: Sequence[TokenLogprob], before: Sequence[TokenLogprob]
    ) -> dict[str, Any] | None:
        if not self.logprobs:
            return None
        return {
            "tokens": [self._name(entry.token) for entry in tokens],
            "token_logprobs": [entry.token.logprob for entry in tokens],
            "top_logprobs": [
                None
                if entry.token.logprob is None
                else {self._name(token): token.logprob for token in entry.top}
                for entry in tokens
            ],
            "text_offset": _offsets(tokens, before),
        }

    def _name(self, token: TokenText) -> str:
        return f"token_id:{token.token_id}" if self.tokens_as_ids else token.text


Format = ChatFormat | CompletionFormat


def usage(stream: TextStream) -> dict[str, int]:
    """Tokens of a request, all its texts together."""
    read, written = stream.prompt_tokens, sum(len(text.token_ids) for text in stream.texts)
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def _offsets(tokens: Sequence[TokenLogprob], before: Sequence[TokenLogprob]) -> list[int]:
    """At which character of the text each of `tokens` begins; `before` are those before them.

    A token that goes on with a character begins where that character does.
    """
    raw = b"".join(entry.token.raw for entry in before)
    ends = accumulate((len(entry.token.raw) for entry in tokens), initial=len(raw))
    raw += b"".join(entry.token.raw for entry in tokens)
    return [len(raw[:end].decode(errors="ignore")) for end in ends][:-1]


def token_logprobs(tokens: Sequence[TokenLogprob]) -> list[dict[str, Any]]:
    """Log-probabilities as chat completions and responses have them."""
    return [
        _likely(entry.token) | {"top_logprobs": [_likely(token) for token in entry.top]}
        for entry in tokens
    ]


def _likely(token: TokenText) -> dict[str, Any]:
    """A token, its log-probability and its bytes, which may be a part of a character."""
    return {"token": token.text, "logprob": token.logprob, "bytes": list(token.raw)}
