"""What the routes and the page of one server share."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from flythinker.generation.backends.protocol import Engine
from flythinker.serving.ops.metrics import Metrics
from flythinker.serving.rate import Rate
from flythinker.serving.service import WritingService
from flythinker.serving.settings import ServerSettings
from flythinker.serving.storage.store import Store


@dataclass(frozen=True)
class ServerState:
    """The parts of one server; `started` is when, in seconds since 1970."""

    settings: ServerSettings
    store: Store
    engine: Engine
    metrics: Metrics
    rate: Rate
    writing: WritingService
    started: int


async def _state(request: Request) -> ServerState:
    state: ServerState = request.app.state.server
    return state


State = Annotated[ServerState, Depends(_state)]
"""What a route declares to get the server's state."""
