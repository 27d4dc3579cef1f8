"""What goes wrong, as OpenAI's error objects: `{"error": {message, type, param, code}}`."""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from flythinker.disk import DiskFull

logger = logging.getLogger(__name__)

_KIND = re.compile(r"constrained-str|list\[.*\]")  # pydantic's names of what a field may be


class ErrorObject(TypedDict):
    """What went wrong; `param` names the field, `code` the kind, for programs."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(TypedDict):
    """The body of every answer with a status of 400 or more."""

    error: ErrorObject


class ApiError(HTTPException):
    """An answer that says what went wrong. The message never quotes a text, an id or a key."""

    def __init__(
        self,
        status: int,
        message: str,
        type: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, headers)
        self.body: ErrorBody = {
            "error": {"message": message, "type": type, "param": param, "code": code}
        }

    def response(self) -> Response:
        """The answer."""
        return JSONResponse(self.body, self.status_code, self.headers)


def install_error_handlers(app: FastAPI) -> None:
    """Answer everything that goes wrong with an error object."""
    handlers = {
        HTTPException: _http,
        RequestValidationError: _invalid,
        DiskFull: _disk_full,
        OperationalError: _no_database,
        Exception: _unexpected,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


async def _http(request: Request, error: Any) -> Response:
    if not isinstance(error, ApiError):  # the framework's own: no such route or method, a bad body
        error = ApiError(
            error.status_code, error.detail, "invalid_request_error", headers=error.headers
        )
    return error.response()


async def _invalid(request: Request, error: Any) -> Response:
    """Name what is wrong first; the rest is likely to follow from it."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        message, param = f"the body is not valid JSON: {first['ctx']['error']}", None
    else:
        param = _field(first["loc"])
        message = f"{param}: {first['msg']}" if param else first["msg"]
    return ApiError(400, message, "invalid_request_error", param=param).response()


def disk_full() -> ApiError:
    """That the database's disk is full, for clients, who need not know where it is."""
    return ApiError(
        507,
        "the server's disk is full: nothing was stored or changed; texts are still written, and "
        "stored ones can be read and deleted; tell whoever runs this server",
        "server_error",
        code="disk_full",
    )


async def _disk_full(request: Request, error: Any) -> Response:
    logger.error("the database's disk is full")
    return disk_full().response()


async def _no_database(request: Request, error: Any) -> Response:
    logger.error("the database failed: %s", type(error.orig).__name__)
    return ApiError(
        503, "the database does not answer", "server_error", headers={"Retry-After": "5"}
    ).response()


async def _unexpected(request: Request, error: Any) -> Response:
    return ApiError(500, "the server failed on this request", "server_error").response()


def _field(location: Sequence[str | int]) -> str | None:
    """`("body", "messages", 0, "role")` → `messages[0].role`."""
    name = ""
    for part in location[1:]:
        if _KIND.fullmatch(str(part)):
            continue
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
    # a client's own words: they may be long, and no Unicode
    return name[:200].encode(errors="replace").decode() or None
