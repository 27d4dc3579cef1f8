"""What goes wrong, by HTTP: statuses and OpenAI's `{"error": {message, type, param, code}}`."""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from openai.types import ErrorObject
from pydantic import BaseModel, ValidationError
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException

from flythinker.disk import DiskFull
from flythinker.generation.backends import errors as engine
from flythinker.serving import errors as service
from flythinker.serving.api.fields import PATTERN_WORDS

logger = logging.getLogger(__name__)

_STATUS: dict[type[Exception], int] = {
    service.BadRequest: 400,
    engine.EndpointRefused: 400,
    service.TooManyDocuments: 409,
    service.DocumentTooLarge: 413,
    service.RateLimited: 429,
    engine.EngineBusy: 429,
    engine.EngineFailed: 500,
    engine.EndpointFailed: 502,
    engine.EngineClosed: 503,
    engine.EndpointUnreachable: 503,
}
_TYPES = {401: "authentication_error", 429: "rate_limit_error"}
_KIND = re.compile(r"constrained-str|list\[.*\]")  # pydantic's names of what a field may be


class ErrorBody(BaseModel):
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
        kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}

    def response(self) -> Response:
        """The answer."""
        return JSONResponse(self.body, self.status_code, self.headers)


def install_error_handlers(app: FastAPI) -> None:
    """Answer everything that goes wrong with an error object."""

    async def answer(request: Request, error: Exception) -> Response:
        return api_error(error).response()

    for kind in (
        HTTPException,
        RequestValidationError,
        service.Refused,
        engine.EngineError,
        DiskFull,
        OperationalError,
        Exception,
    ):
        app.add_exception_handler(kind, answer)


def api_error(error: Exception) -> ApiError:
    """The one place where an error becomes a status and an error object."""
    match error:
        case ApiError():
            return error
        case HTTPException():  # the framework's own: no such route or method, a bad body
            return ApiError(error.status_code, error.detail, headers=error.headers)
        case RequestValidationError():
            return api_error(_invalid_body(error))
        case service.Refused() | engine.EngineError():
            headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
            param = error.param if isinstance(error, service.Refused) else None
            status = _STATUS[type(error)]
            return ApiError(status, str(error), param=param, code=error.code, headers=headers)
        case DiskFull():
            logger.error("the database's disk is full")
            return ApiError(507, service.DISK_FULL, code="disk_full")
        case OperationalError():
            logger.error("the database failed: %s", type(error.orig).__name__)
            return ApiError(503, "the database does not answer", headers={"Retry-After": "5"})
    return ApiError(500, "the server failed on this request")


def invalid_field(error: ValidationError, otherwise: str | None = None) -> service.BadRequest:
    """Pydantic's first complaint, by the field that it is about, or `otherwise` if about none."""
    first = _telling(error.errors())
    return _wrong(_field(first["loc"][:1]) or otherwise, _words(first))


def _invalid_body(error: RequestValidationError) -> service.BadRequest:
    """Name what is wrong first; the rest is likely to follow from it."""
    first = _telling(error.errors())
    if first["type"] == "json_invalid":
        return service.BadRequest(f"the body is not valid JSON: {first['ctx']['error']}")
    return _wrong(_field(first["loc"][1:]), _words(first))


def _telling(complaints: Sequence[Any]) -> Any:
    """The first complaint; of a field that may be this or that, the one about what it was meant as.

    A list with something wrong in it is "no string" as well, which helps nobody.
    """
    location = complaints[0]["loc"]
    kinds = (place for place, part in enumerate(location) if _KIND.fullmatch(str(part)))
    field = location[: next(kinds, len(location))]
    same = [complaint for complaint in complaints if complaint["loc"][: len(field)] == field]
    return max(same, key=lambda each: (not each["type"].endswith("_type"), len(each["loc"])))


def _words(complaint: Any) -> str:
    """What to tell a client of one of pydantic's complaints."""
    if complaint["type"] == "string_pattern_mismatch":
        return PATTERN_WORDS.get(complaint["ctx"]["pattern"], complaint["msg"])
    if complaint["type"] == "extra_forbidden":
        return "there is no such field here: leave it out"
    return complaint["msg"].removeprefix("Value error, ")


def _wrong(param: str | None, message: str) -> service.BadRequest:
    return service.BadRequest(f"{param}: {message}" if param else message, param=param)


def _field(location: Sequence[Any]) -> str | None:
    """`("messages", 0, "role")` → `messages[0].role`."""
    name = ""
    for part in location:
        if _KIND.fullmatch(str(part)):
            continue
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
    # the words are a client's: they may be long, and no Unicode
    return name[:200].encode(errors="replace").decode() or None
