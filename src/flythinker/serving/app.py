"""The server: routes, middleware and what they share."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.concurrency import run_in_threadpool
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import Match, Mount
from starlette.types import Scope

from flythinker import __version__
from flythinker.generation.backends.protocol import Engine
from flythinker.serving.api import adapters, completions, documents, response_route
from flythinker.serving.api.errors import ErrorBody, install_error_handlers
from flythinker.serving.api.limits import Gate
from flythinker.serving.learning.learner import Learner
from flythinker.serving.ops.metrics import Metrics
from flythinker.serving.ops.observe import Observer
from flythinker.serving.page.page import make_page
from flythinker.serving.rate import Rate
from flythinker.serving.service import WritingService
from flythinker.serving.settings import ServerSettings
from flythinker.serving.state import ServerState
from flythinker.serving.storage.store import Store


def create_app(
    settings: ServerSettings, store: Store, engine: Engine, learner: Learner | None = None
) -> FastAPI:
    """Put the server together; it closes the engine and the learner when it shuts down."""
    metrics = Metrics(engine, store, learner)
    state = ServerState(
        settings,
        store,
        engine,
        metrics,
        Rate(settings.requests_per_minute),
        WritingService(engine, store, metrics, settings.log_texts, learner),
        int(time.time()),
    )
    page = make_page(state)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if learner is not None:
            learner.start()
        async with page.router.lifespan_context(page):
            yield
        if learner is not None:
            await run_in_threadpool(learner.close)
        await engine.close(timeout=0)

    app = FastAPI(
        title="FlyThinker",
        description="Long texts as one particular user would write them.",
        version=__version__,
        lifespan=lifespan,
        responses={
            "4XX": {"model": ErrorBody, "description": "The request cannot be served."},
            "5XX": {"model": ErrorBody, "description": "The server cannot serve now."},
        },
    )
    app.state.server = state
    app.include_router(completions.router)
    app.include_router(response_route.router)
    app.include_router(documents.router)
    app.include_router(adapters.router)
    install_error_handlers(app)
    app.add_middleware(Gate, settings=settings)
    if settings.allow_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allow_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["Retry-After"],
        )
    if not settings.require_keys:
        # a web page must not reach in through a browser on this machine, nor a proxy from outside
        allowed = ["localhost", "127.0.0.1", "[::1]", settings.host]
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=allowed)
    app.add_middleware(Observer, metrics=metrics)  # the last one added is the outermost

    _add_watch_routes(app, state)
    app.router.routes.append(_PageMount("/", page))  # the last
    return app


def _add_watch_routes(app: FastAPI, state: ServerState) -> None:
    """The routes for what watches the server."""

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Whether the process serves requests at all."""
        return {"status": "ok"}

    @app.get("/ready")
    async def ready() -> Response:
        """Whether to send requests here: 503 while it shuts down or cannot write.

        With `"disk": "full"` texts are written, and documents read and deleted, but not added.
        """
        if not state.engine.ready:
            return JSONResponse({"status": "not ready"}, status_code=503)
        await run_in_threadpool(state.store.check)
        room = await run_in_threadpool(state.store.room)
        return JSONResponse({"status": "ready", "disk": "full" if room.full else "ok"})

    @app.get("/metrics", response_class=PlainTextResponse)
    async def measured() -> Response:
        """What Prometheus reads."""
        return Response(await run_in_threadpool(state.metrics.page), media_type=CONTENT_TYPE_LATEST)


class _PageMount(Mount):
    """Leaves `/v1/` to the API, so that it says what is no route or no method."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return (Match.NONE, {}) if scope["path"].startswith("/v1/") else super().matches(scope)
