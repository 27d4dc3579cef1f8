"""The routes that write: `/v1/chat/completions`, `/v1/completions`, and `/v1/models`."""

import logging
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any, Literal

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response
from openai.types.chat import ChatCompletion
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from flythinker.generation.backends.errors import EngineError
from flythinker.serving.api.access import Person, Tenant, as_person, tenant
from flythinker.serving.api.errors import ApiError, api_error
from flythinker.serving.api.responses import (
    ChatFormat,
    CompletionFormat,
    EchoedCompletion,
    Format,
    usage,
)
from flythinker.serving.api.schemas import ChatRequest, CompletionRequest
from flythinker.serving.api.streaming import (
    STREAM,
    EventStream,
    cancelled_when_left,
    check_model,
    event,
)
from flythinker.serving.service import TextStream
from flythinker.serving.state import ServerState, State

logger = logging.getLogger(__name__)
router = APIRouter(prefix="/v1")


class ModelCard(TypedDict):
    """What is served; `max_model_len` tokens are the most that prompt and text may have."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: Literal["flythinker"]
    max_model_len: int


class ModelList(TypedDict):
    """The answer of `/v1/models`."""

    object: Literal["list"]
    data: list[ModelCard]


@router.post("/chat/completions", responses={200: {"model": ChatCompletion} | STREAM})
async def chat_completions(
    body: ChatRequest, request: Request, state: State, tenant: Tenant, person: Person
) -> Response:
    """Write the next message of a conversation, as the user `user` would."""
    return await _answer(request, state, tenant, person, body, ChatFormat(bool(body.logprobs)))


@router.post("/completions", responses={200: {"model": EchoedCompletion} | STREAM})
async def completions(
    body: CompletionRequest, request: Request, state: State, tenant: Tenant, person: Person
) -> Response:
    """Write what each `prompt` asks for, as the user `user` would."""
    form = CompletionFormat(
        body.logprobs is not None, body.return_token_ids, body.return_tokens_as_token_ids
    )
    return await _answer(request, state, tenant, person, body, form, body.cache_salt)


@router.get("/models", dependencies=[Depends(tenant)])
async def models(state: State) -> ModelList:
    """The one model that there is."""
    return {"object": "list", "data": [_model_card(state)]}


@router.get("/models/{model:path}", dependencies=[Depends(tenant)])
async def model(model: str, state: State) -> ModelCard:
    """The model of that name."""
    check_model(state, model)
    return _model_card(state)


async def _answer(
    request: Request,
    state: ServerState,
    tenant: str,
    person: str | None,
    body: ChatRequest | CompletionRequest,
    form: Format,
    cache_salt: str | None = None,
) -> Response:
    """Write, and answer when all is written, or while it is."""
    check_model(state, body.model)
    requests = as_person(person, body, body.writing_requests())
    stream = await state.writing.write(tenant, requests, body, cache_salt)
    head = {
        "id": form.id_prefix + uuid.uuid4().hex,
        "created": int(time.time()),
        "model": state.settings.model_name,
    }
    if body.stream:
        include_usage = body.stream_options is not None and body.stream_options.include_usage
        return EventStream(_events(request, stream, form, head, include_usage))
    with closing(stream):
        async with cancelled_when_left(request, stream):
            async for _ in stream.pieces():
                pass
    choices = [form.choice(index, text) for index, text in enumerate(stream.texts)]
    whole = {"object": form.name, "choices": choices, "usage": usage(stream)}
    return JSONResponse(head | whole)


async def _events(
    request: Request, stream: TextStream, form: Format, head: dict[str, Any], include_usage: bool
) -> AsyncIterator[str]:
    """Server-sent events; what goes wrong now, after status 200, is an event as well."""
    head = head | {"object": form.chunk_name}
    none_yet = {"usage": None} if include_usage else {}
    with closing(stream):
        try:
            for index in range(len(stream.texts)):
                if beginning := form.beginning(index):
                    yield event(head | {"choices": [beginning]} | none_yet)
            async with cancelled_when_left(request, stream):
                async for piece in stream.pieces():
                    for delta in form.deltas(piece, stream.texts[piece.index]):
                        yield event(head | {"choices": [delta]} | none_yet)
            if include_usage:
                yield event(head | {"choices": [], "usage": usage(stream)})
        except EngineError as error:
            yield event(api_error(error).body)
        except Exception:
            logger.exception("a stream broke off")
            yield event(ApiError(500, "the stream broke off").body)
        yield "data: [DONE]\n\n"


def _model_card(state: ServerState) -> ModelCard:
    return {
        "id": state.settings.model_name,
        "object": "model",
        "created": state.started,
        "owned_by": "flythinker",
        "max_model_len": state.engine.context_length,
    }
