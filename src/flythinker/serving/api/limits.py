"""How much anybody may ask for: sizes of bodies, requests at the same time, requests a minute."""

import math
import time
from threading import Lock

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flythinker.serving.api.errors import ApiError
from flythinker.serving.settings import ServerSettings


def install_limits(app: FastAPI, settings: ServerSettings) -> None:
    """Refuse what is too much before it costs anything."""
    app.state.rate = Rate(settings.requests_per_minute)
    app.add_middleware(Gate, settings=settings)


class Gate:
    """ASGI middleware: refuses bodies that are too large and requests that are too many.

    What watches the server always passes: a busy server is not a dead one.
    """

    watching = ("/health", "/ready", "/metrics")

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app = app
        self._max_body = settings.max_body_bytes
        self._max_requests = settings.max_concurrent_requests
        self._requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http" or scope["path"] in self.watching:
            await self._app(scope, receive, send)
            return
        if refusal := self._refusal(scope):
            await refusal.response()(scope, receive, send)
            return
        size = 0

        async def limited() -> Message:
            """A body without an honest Content-Length is counted as it comes."""
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._max_body:
                raise self._too_large()
            return message

        self._requests += 1
        try:
            await self._app(scope, limited, send)
        finally:
            self._requests -= 1

    def _refusal(self, scope: Scope) -> ApiError | None:
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > self._max_body:
            return self._too_large()
        if self._requests >= self._max_requests:
            return _too_many(f"more than {self._max_requests} requests at the same time", 1)
        return None

    def _too_large(self) -> ApiError:
        return ApiError(
            413,
            f"the body is larger than {self._max_body} bytes",
            "invalid_request_error",
            code="body_too_large",
        )


class Rate:
    """A bucket of tokens a tenant, full at first: bursts pass, a steady excess does not."""

    def __init__(self, per_minute: int) -> None:
        """0: no limit."""
        self._capacity = per_minute
        self._buckets: dict[str, tuple[float, float]] = {}  # by tenant: tokens, and at what time
        self._lock = Lock()

    def take(self, tenant: str) -> None:
        """Count one request.

        Raises:
            ApiError: 429 with `Retry-After`, when the tenant has no token left.
        """
        if not self._capacity:
            return
        per_second = self._capacity / 60
        with self._lock:
            now = time.monotonic()
            tokens, since = self._buckets.get(tenant, (self._capacity, now))
            tokens = min(self._capacity, tokens + (now - since) * per_second)
            if tokens < 1:
                wait = math.ceil((1 - tokens) / per_second)
                raise _too_many(f"more than {self._capacity} requests a minute", wait)
            self._buckets[tenant] = tokens - 1, now


def _too_many(what: str, seconds: int) -> ApiError:
    return ApiError(
        429,
        f"{what}; try again in {seconds} s",
        "rate_limit_error",
        code="rate_limit_exceeded",
        headers={"Retry-After": str(seconds)},
    )
