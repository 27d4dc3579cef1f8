"""Errors of engines and refusals of the service, as clients of the API get them."""

import json

import pytest

from flythinker.generation.backends.errors import (
    EndpointFailed,
    EndpointRefused,
    EndpointUnreachable,
    EngineBusy,
    EngineClosed,
    EngineError,
    EngineFailed,
)
from flythinker.serving.api import errors
from flythinker.serving.api.errors import api_error
from flythinker.serving.errors import (
    BadRequest,
    DocumentTooLarge,
    RateLimited,
    Refused,
    TooManyDocuments,
)

WRONG, BUSY, BROKEN = "invalid_request_error", "rate_limit_error", "server_error"


@pytest.mark.parametrize(
    ("error", "status", "type", "param", "code", "retry_after"),
    [
        (BadRequest("No.", param="n", code="why"), 400, WRONG, "n", "why", None),
        (DocumentTooLarge("Long.", code="long"), 413, WRONG, None, "long", None),
        (TooManyDocuments("Many.", code="many"), 409, WRONG, None, "many", None),
        (RateLimited("more than 9", 7), 429, BUSY, None, "rate_limit_exceeded", "7"),
        (EngineBusy("Full.", 3, "queue_full"), 429, BUSY, None, "queue_full", "3"),
        (EngineBusy("Full there.", 3), 429, BUSY, None, None, "3"),
        (EngineClosed(), 503, BROKEN, None, None, "5"),
        (EndpointUnreachable("Gone.", 5), 503, BROKEN, None, None, "5"),
        (EngineFailed("Broken."), 500, BROKEN, None, None, None),
        (EndpointFailed("Broken there."), 502, BROKEN, None, None, None),
        (EndpointRefused("Wrong there."), 400, WRONG, None, None, None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_each_has_its_status_and_object(error, status, type, param, code, retry_after):
    response = api_error(error).response()
    assert response.status_code == status
    assert response.headers.get("retry-after") == retry_after
    assert json.loads(response.body) == {
        "error": {"message": str(error), "type": type, "param": param, "code": code}
    }


def test_none_is_left_without_a_status():
    kinds = Refused.__subclasses__() + EngineError.__subclasses__()
    assert set(kinds) == set(errors._STATUS)
