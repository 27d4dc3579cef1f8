"""What goes wrong, by HTTP: statuses and OpenAI's `{"error": {message, type, param, code}}`."""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from flythinker.disk import DiskFull
from flythinker.generation.backends.errors import (
    EndpointFailed,
    EndpointRefused,
    EngineBusy,
    EngineClosed,
    EngineError,
    EngineFailed,
    EngineUnavailable,
)
from flythinker.serving.errors import (
    DISK_FULL,
    BadRequest,
    DocumentTooLarge,
    RateLimited,
    Refused,
    TooManyDocuments,
)

logger = logging.getLogger(__name__)

_STATUS: dict[type[Refused | EngineError], int] = {
    BadRequest: 400,
    EndpointRefused: 400,
    TooManyDocuments: 409,
    DocumentTooLarge: 413,
    RateLimited: 429,
    EngineBusy: 429,
    EngineFailed: 500,
    EndpointFailed: 502,
    EngineClosed: 503,
    EngineUnavailable: 503,
}
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
    """An answer that says what went wrong. The message quotes no text, id or key."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, headers)
        self.body: ErrorBody = {
            "error": {"message": message, "type": _type(status), "param": param, "code": code}
        }

    def response(self) -> Response:
        """The answer."""
        return JSONResponse(self.body, self.status_code, self.headers)


def api_error(error: Refused | EngineError) -> ApiError:
    """The answer to a request that is refused, or that the engine cannot write."""
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after is not None else None
    param = error.param if isinstance(error, Refused) else None
    return ApiError(_STATUS[type(error)], str(error), param=param, code=error.code, headers=headers)


def _type(status: int) -> str:
    """OpenAI's word for errors of a status."""
    special = {401: "authentication_error", 429: "rate_limit_error"}
    return special.get(status, "invalid_request_error" if status < 500 else "server_error")


def invalid_field(error: ValidationError, otherwise: str | None = None) -> BadRequest:
    """Pydantic's first complaint, by the field that it is about, or `otherwise` if about none."""
    first = error.errors()[0]
    field = str(first["loc"][0]) if first["loc"] else otherwise
    message = f"{field}: {first['msg']}" if field else first["msg"]
    return BadRequest(message, param=field)


def install_error_handlers(app: FastAPI) -> None:
    """Answer everything that goes wrong with an error object."""
    handlers = {
        HTTPException: _http,
        RequestValidationError: _invalid,
        Refused: _not_done,
        EngineError: _not_done,
        DiskFull: _disk_full,
        OperationalError: _no_database,
        Exception: _unexpected,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


async def _http(request: Request, error: Any) -> Response:
    if not isinstance(error, ApiError):  # the framework's own: no such route or method, a bad body
        error = ApiError(error.status_code, error.detail, headers=error.headers)
    return error.response()


async def _not_done(request: Request, error: Any) -> Response:
    return api_error(error).response()


async def _invalid(request: Request, error: Any) -> Response:
    """Name what is wrong first; the rest is likely to follow from it."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        message, param = f"the body is not valid JSON: {first['ctx']['error']}", None
    else:
        param = _field(first["loc"])
        message = f"{param}: {first['msg']}" if param else first["msg"]
    return ApiError(400, message, param=param).response()


async def _disk_full(request: Request, error: Any) -> Response:
    logger.error("the database's disk is full")
    return ApiError(507, DISK_FULL, code="disk_full").response()


async def _no_database(request: Request, error: Any) -> Response:
    logger.error("the database failed: %s", type(error.orig).__name__)
    headers = {"Retry-After": "5"}
    return ApiError(503, "the database does not answer", headers=headers).response()


async def _unexpected(request: Request, error: Any) -> Response:
    return ApiError(500, "the server failed on this request").response()


def _field(location: Sequence[str | int]) -> str | None:
    """`("body", "messages", 0, "role")` → `messages[0].role`."""
    name = ""
    for part in location[1:]:
        if _KIND.fullmatch(str(part)):
            continue
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
    # a client's own words: they may be long, and no Unicode
    return name[:200].encode(errors="replace").decode() or None
