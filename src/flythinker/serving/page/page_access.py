"""Who gets at the page: only what it needs of Gradio is served, and only to whom it belongs.

With API keys on, a browser shows its key once at `/login` and keeps it in a cookie that scripts
cannot read. Every request is checked against the store, so that a revoked key ends at once.
"""

import html
import json
from collections import OrderedDict
from importlib.resources import files
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flythinker.serving.api.errors import ApiError
from flythinker.serving.settings import DEFAULT_TENANT
from flythinker.serving.storage.store import Store

COOKIE = "flythinker_key"
TENANT = "flythinker.tenant"
"""Where the tenant of a request stands in its scope."""

_FILES = ("/static/", "/assets/", "/svelte/")
_PAGE = ("/", "/config", "/theme.css", "/favicon.ico", "/gradio_api/startup-events")
_EVENTS = ("/gradio_api/queue/join", "/gradio_api/queue/data", "/gradio_api/cancel")
_HEARTBEAT = "/gradio_api/heartbeat/"
_MAX_SESSIONS = 10_000
_HEADERS = {
    # Gradio runs its templates by `new Function`; nothing may come from, or go, elsewhere
    "Content-Security-Policy": "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class PageGate:
    """ASGI middleware around Gradio's application.

    Gradio brings routes for uploads, files, proxies and more: none of those is reached.
    """

    def __init__(self, app: ASGIApp, store: Store, require_keys: bool) -> None:
        self._app = app
        self._store = store
        self._require_keys = require_keys
        self._owners: OrderedDict[str, str] = OrderedDict()  # of Gradio's sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [
                    (name.lower().encode(), value.encode()) for name, value in _HEADERS.items()
                ]
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        request = Request(scope, receive)
        try:
            answer = await self._answer(request)
        except ApiError as error:
            answer = error.response()
        if answer is not None:
            await answer(scope, receive, with_headers)
            return
        await self._app(scope, _replayed(request, receive), with_headers)

    async def _answer(self, request: Request) -> Response | None:
        """Our own answer; `None`: Gradio's.

        Raises:
            ApiError: the request may not pass.
        """
        path, method = request.url.path, request.method
        site = request.headers.get("sec-fetch-site", "same-origin")
        if method == "POST" and site not in ("same-origin", "none"):
            raise ApiError(403, "another site may not ask here")
        if path in ("/login", "/logout") and method == "POST" and self._require_keys:
            return await self._log_in(request) if path == "/login" else _to_page(cookie="")
        if not (path in _PAGE or path in _EVENTS or path.startswith((*_FILES, _HEARTBEAT))):
            raise ApiError(404, "Not Found")
        tenant = self._tenant(request.cookies.get(COOKIE, ""))
        if tenant is None:
            if path == "/":
                return _login_page()
            raise ApiError(401, "log in first", code="invalid_api_key")
        request.scope[TENANT] = tenant
        if self._require_keys and (path in _EVENTS or path.startswith(_HEARTBEAT)):
            self._check_session(await _session(request), tenant)
        return None

    def _tenant(self, key: str) -> str | None:
        return self._store.tenant_of(key) if self._require_keys else DEFAULT_TENANT

    async def _log_in(self, request: Request) -> Response:
        given = parse_qs((await request.body()).decode(errors="replace"))
        key = given.get("key", [""])[0].strip()
        if self._tenant(key) is None:
            return _login_page("This is no valid key.")
        return _to_page(cookie=key, secure=request.url.scheme == "https")

    def _check_session(self, session: str, tenant: str) -> None:
        """A session is of the tenant that was first seen with it, and of no other.

        Raises:
            ApiError: 404, it is another tenant's.
        """
        owner = self._owners.setdefault(session, tenant)
        self._owners.move_to_end(session)
        if len(self._owners) > _MAX_SESSIONS:
            self._owners.popitem(last=False)
        if owner != tenant:
            raise ApiError(404, "no such session")


def tenant_of(request: Request) -> str | None:
    """The tenant that `PageGate` found."""
    return request.scope.get(TENANT)


def _login_page(problem: str = "") -> Response:
    page = (files("flythinker.serving.page") / "page_files" / "login.html").read_text("utf-8")
    if problem:
        said = f'<p class="wrong" role="alert">{html.escape(problem)}</p>'
        page = page.replace("<!-- problem -->", said)
    return HTMLResponse(page, status_code=401, headers={"Cache-Control": "no-store"})


def _to_page(cookie: str, secure: bool = False) -> Response:
    answer = RedirectResponse("/", status_code=303)
    if cookie:
        answer.set_cookie(
            COOKIE, cookie, httponly=True, samesite="strict", secure=secure, max_age=30 * 24 * 3600
        )
    else:
        answer.delete_cookie(COOKIE)
    return answer


async def _session(request: Request) -> str:
    """The session that a request to Gradio's events is of."""
    path = request.url.path
    if path.startswith(_HEARTBEAT):
        return path.removeprefix(_HEARTBEAT)
    if request.method == "GET":
        return request.query_params.get("session_hash", "")
    try:
        return str(json.loads(await request.body())["session_hash"])
    except (ValueError, KeyError, TypeError):
        raise ApiError(400, "no session is named") from None


def _replayed(request: Request, receive: Receive) -> Receive:
    """What the application receives: the body first, if it was read here."""
    body: bytes | None = getattr(request, "_body", None)
    if body is None:
        return receive
    replayed = False

    async def once() -> Message:
        nonlocal replayed
        if replayed:
            return await receive()
        replayed = True
        return {"type": "http.request", "body": body, "more_body": False}

    return once
