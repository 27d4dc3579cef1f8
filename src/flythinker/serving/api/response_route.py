"""The route `/v1/responses`."""

import logging
from collections.abc import AsyncIterator
from contextlib import closing

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from fastapi.responses import Response as Answer
from openai.types.responses import Response

from flythinker.generation.backends.errors import EngineError
from flythinker.serving.api.access import Person, Tenant, as_person
from flythinker.serving.api.response_format import ResponseFormat
from flythinker.serving.api.response_request import ResponseRequest
from flythinker.serving.api.streaming import STREAM, EventStream, cancelled_when_left, check_model
from flythinker.serving.service import TextStream
from flythinker.serving.state import State

logger = logging.getLogger(__name__)
router = APIRouter(prefix="/v1")


@router.post("/responses", responses={200: {"model": Response} | STREAM})
async def respond(
    body: ResponseRequest, request: Request, state: State, tenant: Tenant, person: Person
) -> Answer:
    """Write an answer to `input`, as the user `user` would. Nothing of it is stored."""
    check_model(state, body.model)
    requests = as_person(person, body, body.writing_requests())
    stream = await state.writing.write(tenant, requests, body)
    form = ResponseFormat(body, state.settings.model_name)
    if body.stream:
        return EventStream(_events(request, stream, form))
    with closing(stream):
        async with cancelled_when_left(request, stream):
            async for _ in stream.pieces():
                pass
    return JSONResponse(form.whole(stream))


async def _events(request: Request, stream: TextStream, form: ResponseFormat) -> AsyncIterator[str]:
    """The events; what goes wrong now, after status 200, is one as well."""
    with closing(stream):
        try:
            for begun in form.beginning():
                yield begun
            async with cancelled_when_left(request, stream):
                async for piece in stream.pieces():
                    for delta in form.delta(piece):
                        yield delta
            for done in form.end(stream):
                yield done
        except EngineError as error:
            yield form.failure(str(error))
        except Exception:
            logger.exception("a stream broke off")
            yield form.failure("the stream broke off")
