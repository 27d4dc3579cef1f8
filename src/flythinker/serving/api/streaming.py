"""What the routes that write share: events as they are sent, and clients that leave."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Request
from fastapi.responses import StreamingResponse

from flythinker.serving.api.errors import ApiError
from flythinker.serving.service import TextStream
from flythinker.serving.state import ServerState

STREAM: dict[str, Any] = {"content": {"text/event-stream": {}}}
"""What the schema says of an answer that may be streamed."""

LEFT_SECONDS = 0.25
"""How often a request being written is asked whether its client is still there."""


class EventStream(StreamingResponse):
    """Server-sent events that no proxy keeps back."""

    def __init__(self, events: AsyncIterator[str]) -> None:
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)


def event(data: Mapping[str, Any], name: str | None = None) -> str:
    """One event, with a name where the protocol has them."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data, ensure_ascii=False)}\n\n"


@asynccontextmanager
async def cancelled_when_left(request: Request, stream: TextStream) -> AsyncIterator[None]:
    """Stop writing when the client hangs up, also while its request waits in the queue."""

    async def watch() -> None:
        while not await request.is_disconnected():
            await asyncio.sleep(LEFT_SECONDS)
        stream.cancel()

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()


def check_model(state: ServerState, name: str) -> None:
    """Refuse what names another model than the one that is served.

    Raises:
        ApiError: 404.
    """
    served = state.settings.model_name
    if name != served:
        message = f"there is no model '{name[:100]}' here; it is '{served}'"
        raise ApiError(404, message, param="model", code="model_not_found")
