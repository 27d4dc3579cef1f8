"""What answers of `/v1/responses` look like: OpenAI's response object, and the events of a stream.

They are plain dictionaries; their types are those of `openai.types.responses`.
"""

import time
import uuid
from collections.abc import Iterator
from itertools import count
from typing import Any

from flythinker.generation.backends.protocol import Piece
from flythinker.generation.sampling import Sampling
from flythinker.serving.api.response_request import ResponseRequest
from flythinker.serving.api.responses import token_logprobs
from flythinker.serving.api.streaming import event
from flythinker.serving.service import TextStream, WrittenText

_PLACE = {"output_index": 0, "content_index": 0}  # of the one text of an answer


class ResponseFormat:
    """One answer, whole or as events: it has one message with one part of text."""

    def __init__(self, body: ResponseRequest, model: str) -> None:
        """Answer `body`, as `model`."""
        self._body = body
        self._item_id = "msg_" + uuid.uuid4().hex
        self._numbers = count()
        self._head: dict[str, Any] = {
            "id": "resp_" + uuid.uuid4().hex,
            "object": "response",
            "created_at": int(time.time()),
            "model": model,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "metadata": body.metadata or {},
            "temperature": Sampling.temperature if body.temperature is None else body.temperature,
            "top_p": Sampling.top_p if body.top_p is None else body.top_p,
            "top_logprobs": body.top_logprobs or 0,
            "user": body.user,
            "safety_identifier": body.safety_identifier,
            "prompt_cache_key": body.prompt_cache_key,
            "text": {"format": {"type": "text"}},
            "truncation": "disabled",
            "tools": [],
            "tool_choice": body.tool_choice or "auto",
            "parallel_tool_calls": bool(body.parallel_tool_calls),
            "previous_response_id": None,
            "background": False,
            "store": False,
        }

    def whole(self, stream: TextStream) -> dict[str, Any]:
        """The answer, when all is written."""
        (written,) = stream.texts
        cut = written.finish_reason == "length"
        status = "incomplete" if cut else "completed"
        return self._head | {
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "output": [self._message(written, status)],
            "usage": _usage(stream),
        }

    def beginning(self) -> Iterator[str]:
        """The events before the first piece of the text."""
        begun = self._unfinished("in_progress", None)
        yield self._event("response.created", response=begun)
        yield self._event("response.in_progress", response=begun)
        message = self._message(WrittenText(), "in_progress") | {"content": []}
        yield self._event("response.output_item.added", output_index=0, item=message)
        part = self._part(WrittenText())
        yield self._event("response.content_part.added", **self._place, part=part)

    def delta(self, piece: Piece) -> Iterator[str]:
        """The event of a piece of the text, if it shows anything."""
        logprobs = self._logprobs(piece)
        if piece.text or logprobs:
            fields = self._place | {"delta": piece.text, "logprobs": logprobs}
            yield self._event("response.output_text.delta", **fields)

    def end(self, stream: TextStream) -> Iterator[str]:
        """The events after the last piece."""
        (written,) = stream.texts
        whole = self.whole(stream)
        said = {"text": written.text, "logprobs": self._logprobs(written)}
        yield self._event("response.output_text.done", **self._place, **said)
        yield self._event("response.content_part.done", **self._place, part=self._part(written))
        message = whole["output"][0]
        yield self._event("response.output_item.done", output_index=0, item=message)
        yield self._event(f"response.{whole['status']}", response=whole)

    def failure(self, message: str) -> str:
        """The last event of a stream that went wrong after it began."""
        error = {"code": "server_error", "message": message}
        return self._event("response.failed", response=self._unfinished("failed", error))

    @property
    def _place(self) -> dict[str, Any]:
        return {"item_id": self._item_id} | _PLACE

    def _event(self, kind: str, **fields: Any) -> str:
        return event({"type": kind, "sequence_number": next(self._numbers)} | fields, name=kind)

    def _unfinished(self, status: str, error: dict[str, Any] | None) -> dict[str, Any]:
        nothing: dict[str, Any] = {"output": [], "incomplete_details": None, "usage": None}
        return self._head | nothing | {"status": status, "error": error}

    def _message(self, written: WrittenText, status: str) -> dict[str, Any]:
        content = [self._part(written)]
        message = {"id": self._item_id, "type": "message", "role": "assistant"}
        return message | {"status": status, "content": content}

    def _part(self, written: WrittenText) -> dict[str, Any]:
        logprobs = self._logprobs(written)
        part = {"type": "output_text", "annotations": [], "text": written.text}
        return part | {"logprobs": logprobs}

    def _logprobs(self, written: WrittenText | Piece) -> list[dict[str, Any]]:
        return token_logprobs(written.logprobs) if self._body.logprobs is not None else []


def _usage(stream: TextStream) -> dict[str, Any]:
    read, written = stream.prompt_tokens, sum(len(text.token_ids) for text in stream.texts)
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": read + written,
    }
