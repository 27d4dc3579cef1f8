"""The routes that write: `/v1/chat/completions`, `/v1/completions`, and `/v1/models`."""

import asyncio
import json
import logging
import secrets
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from flythinker.data.example import Document
from flythinker.data.prompt import Prompt
from flythinker.generation.backends.protocol import Engine, Piece, Pieces, Task
from flythinker.serving.api.access import Tenant, tenant
from flythinker.serving.api.answers import (
    ChatCompletion,
    ChatForm,
    Completion,
    Form,
    ModelCard,
    ModelList,
    TextForm,
    Written,
    usage,
)
from flythinker.serving.api.errors import ApiError
from flythinker.serving.api.schemas import ChatRequest, CompletionRequest, Generation
from flythinker.serving.ops.metrics import Metrics
from flythinker.serving.personal import Prompter
from flythinker.serving.settings import ServerSettings
from flythinker.serving.storage.store import Store

logger = logging.getLogger(__name__)
router = APIRouter(prefix="/v1")

_STREAM: dict[str, Any] = {"content": {"text/event-stream": {}}}

LEFT_SECONDS = 0.25
"""How often a request being written is asked whether its client is still there."""


@router.post("/chat/completions", responses={200: {"model": ChatCompletion} | _STREAM})
async def chat_completions(body: ChatRequest, request: Request, tenant: Tenant) -> Response:
    """Write the next message of a conversation, as the user `user` would."""
    prompter: Prompter = request.app.state.prompter

    def build() -> list[Prompt]:
        history = _history(request, body, tenant)
        return [prompter.personal(body.query, body.earlier, history, body.history_k)]

    form = ChatForm(logprobs=body.likeliest is not None)
    return await _answer(request, body, build, form, tenant, body.longest, body.likeliest)


@router.post("/completions", responses={200: {"model": Completion} | _STREAM})
async def completions(body: CompletionRequest, request: Request, tenant: Tenant) -> Response:
    """Write what each `prompt` asks for, as the user `user` would."""
    prompter: Prompter = request.app.state.prompter

    def build() -> list[Prompt]:
        history = _history(request, body, tenant)
        return [
            prompter.personal(prompt, (), history, body.history_k)
            if isinstance(prompt, str)
            else prompter.verbatim(prompt)
            for prompt in body.prompts
        ]

    form = TextForm(logprobs=body.logprobs is not None, token_ids=body.return_token_ids)
    # as JSON, in which no tenant's name can pass for another's with a salt
    owner = json.dumps([tenant, body.cache_salt]) if body.cache_salt else tenant
    return await _answer(request, body, build, form, owner, body.max_tokens, body.logprobs)


@router.get("/models", dependencies=[Depends(tenant)])
async def models(request: Request) -> ModelList:
    """The one model that there is."""
    return {"object": "list", "data": [_model_card(request)]}


@router.get("/models/{model:path}", dependencies=[Depends(tenant)])
async def model(model: str, request: Request) -> ModelCard:
    """The model of that name."""
    _check_model(request, model)
    return _model_card(request)


@dataclass(frozen=True)
class _Answer:
    """One request's answer, while it is written."""

    request: Request
    body: Generation
    form: Form
    head: dict[str, Any]  # id, created, model
    texts: list[Written]
    prompt_tokens: int
    pieces: Pieces
    begun: float

    async def written(self) -> AsyncGenerator[Piece]:
        """The pieces, which also go into `texts`; whoever stops taking them stops the writing."""
        metrics: Metrics = self.request.app.state.metrics
        settings: ServerSettings = self.request.app.state.settings
        try:
            async with _stopped_when_left(self.request, self.pieces):
                async for piece in metrics.timed(self.pieces, self.begun):
                    yield piece
                    self.texts[piece.index].add(piece)
        finally:
            self.pieces.cancel()
            if settings.log_texts:
                asked = self.body.model_dump(exclude_unset=True)
                texts = [text.text for text in self.texts]
                logger.info("texts", extra={"asked": asked, "texts": texts})

    async def whole(self) -> Response:
        async with aclosing(self.written()) as pieces:
            async for _ in pieces:
                pass
        choices = [self.form.choice(text) for text in self.texts]
        head = self.head | {"object": self.form.name}
        return JSONResponse(head | {"choices": choices, "usage": self.usage()})

    async def events(self, include_usage: bool) -> AsyncIterator[str]:
        """Server-sent events; what goes wrong now, after status 200, is an event as well."""
        head = self.head | {"object": self.form.chunk_name}
        none_yet = {"usage": None} if include_usage else {}
        try:
            for text in self.texts:
                if beginning := self.form.beginning(text.index):
                    yield _event(head | {"choices": [beginning]} | none_yet)
            async with aclosing(self.written()) as pieces:
                async for piece in pieces:
                    for delta in self.form.deltas(piece, self.texts[piece.index]):
                        yield _event(head | {"choices": [delta]} | none_yet)
            if include_usage:
                yield _event(head | {"choices": [], "usage": self.usage()})
        except ApiError as error:
            yield _event(error.body)
        except Exception:
            logger.exception("a stream broke off")
            yield _event(ApiError(500, "the stream broke off", "server_error").body)
        yield "data: [DONE]\n\n"

    def usage(self) -> Any:
        return usage(self.prompt_tokens, sum(len(text.token_ids) for text in self.texts))


async def _answer(
    request: Request,
    body: Generation,
    build: Any,
    form: Form,
    owner: str,
    longest: int | None,
    logprobs: int | None,
) -> Response:
    """Build the prompts, queue their texts and answer, streaming or not."""
    begun = time.perf_counter()
    state = request.app.state
    engine: Engine = state.engine
    prompter: Prompter = state.prompter
    settings: ServerSettings = state.settings
    _check_model(request, body.model)
    if body.fusion_weight is not None and not engine.has_fusion_weight:
        raise ApiError(
            400,
            "fusion_weight is fixed here: this engine or model takes no other",
            "invalid_request_error",
            param="fusion_weight",
        )
    # off the event loop: it reads the store, indexes past texts and tokenizes
    prompts: list[Prompt] = await run_in_threadpool(build)
    tasks = _tasks(body, prompts, prompter, owner, longest, logprobs)
    answer = _Answer(
        request,
        body,
        form,
        {
            "id": form.id_prefix + uuid.uuid4().hex,
            "created": int(time.time()),
            "model": settings.model_name,
        },
        [Written(index) for index in range(len(tasks))],
        sum(len(prompt.prompt_ids) for prompt in prompts),
        engine.generate(tasks),
        begun,
    )
    state.metrics.prompt_tokens.inc(answer.prompt_tokens)
    if body.stream:
        include_usage = body.stream_options is not None and body.stream_options.include_usage
        return StreamingResponse(
            answer.events(include_usage),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
        )
    return await answer.whole()


def _tasks(
    body: Generation,
    prompts: Sequence[Prompt],
    prompter: Prompter,
    owner: str,
    longest: int | None,
    logprobs: int | None,
) -> list[Task]:
    """`n` texts for each prompt, each drawn with a seed of its own."""
    seed = secrets.randbelow(2**63) if body.seed is None else body.seed
    return [
        Task(
            prompt,
            body.sampling(prompter.room(prompt, longest), (seed + choice) % 2**63, logprobs),
            owner,
        )
        for prompt in prompts
        for choice in range(body.n)
    ]


def _history(request: Request, body: Generation, tenant: str) -> list[Document]:
    """The past texts to write from, none of an unknown user; only ever this tenant's."""
    store: Store = request.app.state.store
    if not body.personalize or body.user is None:
        return []
    return store.history(tenant, body.user) or []


@asynccontextmanager
async def _stopped_when_left(request: Request, pieces: Pieces) -> AsyncIterator[None]:
    """Stop writing when the client hangs up, also while its request waits in the queue."""

    async def watch() -> None:
        while not await request.is_disconnected():
            await asyncio.sleep(LEFT_SECONDS)
        pieces.cancel()

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()


def _check_model(request: Request, name: str) -> None:
    settings: ServerSettings = request.app.state.settings
    if name != settings.model_name:
        raise ApiError(
            404,
            f"there is no model '{name[:100]}' here; it is '{settings.model_name}'",
            "invalid_request_error",
            param="model",
            code="model_not_found",
        )


def _model_card(request: Request) -> ModelCard:
    state = request.app.state
    return {
        "id": state.settings.model_name,
        "object": "model",
        "created": state.started,
        "owned_by": "flythinker",
        "max_model_len": state.engine.context_length,
    }


def _event(data: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"
