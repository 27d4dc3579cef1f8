"""What is too much for the server as a whole: large bodies, many requests at the same time."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flythinker.serving.api.errors import ApiError, api_error
from flythinker.serving.errors import RateLimited
from flythinker.serving.settings import ServerSettings


class Gate:
    """ASGI middleware: refuses bodies that are too large and requests that are too many.

    Requests of what watches the server always pass: a busy server is not a dead one.
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
            limit = f"more than {self._max_requests} requests at the same time"
            return api_error(RateLimited(limit, retry_after=1))
        return None

    def _too_large(self) -> ApiError:
        message = f"the body is larger than {self._max_body} bytes"
        return ApiError(413, message, code="body_too_large")
