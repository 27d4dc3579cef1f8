"""Every request is counted, timed and logged by its route: a path may name a user, a route not."""

import logging
import time
import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flythinker.serving.ops.metrics import Metrics

logger = logging.getLogger(__name__)


class Observer:
    """ASGI middleware, the outermost; gives each answer an `x-request-id`."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        request_id = uuid.uuid4().hex
        status = 500  # of an application that breaks off before it answers

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                header = (b"x-request-id", request_id.encode())
                message = {**message, "headers": [*message.get("headers", ()), header]}
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            seconds = time.perf_counter() - begun
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.requests.labels(route, scope["method"], str(status)).inc()
            self._metrics.request_seconds.labels(route).observe(seconds)
            logger.info(
                "request",
                extra={
                    "request_id": request_id,
                    "method": scope["method"],
                    "route": route,
                    "status": status,
                    "seconds": round(seconds, 4),
                },
            )
