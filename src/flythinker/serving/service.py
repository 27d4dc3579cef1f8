"""The one way to write on a server: the API and the page both write through `WritingService`."""

import json
import logging
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from flythinker.adapter import About, Adapter
from flythinker.data.example import Document
from flythinker.data.prompt import Prompt, Turn
from flythinker.generation.backends.protocol import Engine, Piece, Pieces, Task, TokenLogprob
from flythinker.generation.sampling import Sampling
from flythinker.serving.errors import BadRequest, DocumentGone
from flythinker.serving.learning.learner import Learner
from flythinker.serving.ops.metrics import Metrics
from flythinker.serving.personal import Prompter
from flythinker.serving.personal_adapters import PersonalAdapters
from flythinker.serving.storage.adapters import Try
from flythinker.serving.storage.store import Store

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WritingRequest:
    """One prompt, and the texts to write from it.

    Attributes:
        query: what is asked for; token ids are read as they are, without anybody's past texts.
        samplings: how each text is drawn; `max_new_tokens` comes from `max_tokens`.
        max_tokens: the most of each text; `None`: as in training, if the context has room.
        user: whose past texts personalize the prompt, those of an unknown user being none.
        earlier: the conversation before the query.
        history_k: the most past texts shown; `None`: as in training.
        echo: the query is read as it is, without anybody's past texts, and its text comes first.
    """

    query: str | list[int]
    samplings: Sequence[Sampling]
    max_tokens: int | None = None
    user: str | None = None
    earlier: Sequence[Turn] = ()
    history_k: int | None = None
    echo: bool = False


@dataclass
class WrittenText:
    """One text as far as it is written."""

    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish_reason: str | None = None

    def add(self, piece: Piece) -> None:
        """Go on with the next piece."""
        self.text += piece.text
        self.token_ids += piece.token_ids
        self.logprobs += piece.logprobs
        self.finish_reason = piece.finish_reason


@dataclass(frozen=True)
class TextStream:
    """The texts of one call of `WritingService.write` while they are written.

    Iterate over `pieces()`, and `close()` at the end, also when not all is written: `contextlib`'s
    `closing` does it.

    Attributes:
        prompts: one of each request.
        histories: all past texts of each request's user, oldest first.
        texts: those of all requests, in their order; they grow while one iterates.
        source: the engine's pieces.
        timed: the same, counted and timed on the way.
        logged: what the client sent, if it and the texts are to be logged.
        echoes: what texts begin with that is not written, by their place; each is said once.
    """

    prompts: Sequence[Prompt]
    histories: Sequence[Sequence[Document]]
    texts: Sequence[WrittenText]
    source: Pieces
    timed: AsyncIterator[Piece]
    logged: BaseModel | None
    echoes: dict[int, str]

    @property
    def prompt_tokens(self) -> int:
        """Tokens of all prompts; one counts once, however many texts are written from it."""
        return sum(len(prompt.prompt_ids) for prompt in self.prompts)

    async def pieces(self) -> AsyncIterator[Piece]:
        """What the texts grow by; a piece is in `texts` already when it comes.

        Raises:
            EngineError: the engine failed or was closed.
        """
        async for piece in self.timed:
            if echo := self.echoes.pop(piece.index, ""):
                piece = replace(piece, text=echo + piece.text)
            self.texts[piece.index].add(piece)
            yield piece

    def cancel(self) -> None:
        """Stop writing; `pieces` ends."""
        self.source.cancel()

    def close(self) -> None:
        """Stop what is still being written, and log the texts where the server logs texts."""
        self.cancel()
        if self.logged is not None:
            asked = self.logged.model_dump(exclude_unset=True)
            texts = [text.text for text in self.texts]
            logger.info("texts", extra={"asked": asked, "texts": texts})


@dataclass(frozen=True)
class PersonAdapter:
    """What is known of a user beyond the documents, for a client or the page.

    Attributes:
        status: "learning" now, "queued" for it, or "idle".
        about: of the adapter in use; `None`: there is none.
        version: grows with every change of what is known; 0: nothing is yet.
        last_try: the newest, whatever came of it; `None`: there was none.
    """

    status: Literal["learning", "queued", "idle"]
    about: About | None
    version: int
    last_try: Try | None


class WritingService:
    """Writes for the users of tenants: prompts, texts, counts, refusals and the log of texts."""

    def __init__(
        self,
        engine: Engine,
        store: Store,
        metrics: Metrics,
        log_texts: bool,
        learner: Learner | None = None,
    ) -> None:
        self._engine = engine
        self._store = store
        self._metrics = metrics
        self._log_texts = log_texts
        self._prompter = Prompter(engine)
        self._adapters = PersonalAdapters(store, engine)
        self._learner = learner

    async def write(
        self,
        tenant: str,
        requests: Sequence[WritingRequest],
        asked: BaseModel,
        cache_salt: str | None = None,
    ) -> TextStream:
        """Begin to write the texts of all requests.

        Args:
            tenant: whose users the requests name.
            requests: what to write; all of it is begun, or nothing.
            asked: what the client sent, for the log of texts.
            cache_salt: prompts of different salts share no cache, as those of different tenants.

        Raises:
            BadRequest: a prompt does not fit, a λ is chosen where the engine takes none, or a token
                is none of the vocabulary.
            EngineBusy: too many texts are waiting.
            EngineClosed: the server is shutting down.
        """
        begun = time.perf_counter()
        samplings = [sampling for request in requests for sampling in request.samplings]
        chosen = any(sampling.fusion_weight is not None for sampling in samplings)
        if chosen and not self._engine.has_fusion_weight:
            message = "fusion_weight is fixed here: this engine or model takes no other"
            raise BadRequest(message, param="fusion_weight")
        scored = any(sampling.prompt_logprobs is not None for sampling in samplings)
        if (scored or requests[0].max_tokens == 0) and not self._engine.has_prompt_logprobs:
            message = "echo with logprobs, or of nothing but the prompt, needs the local engine"
            raise BadRequest(message, param="echo")
        self._check_tokens(samplings)
        # off the event loop: it reads the store, indexes past texts and tokenizes
        prompts, histories, adapters = await run_in_threadpool(self._prompts, tenant, requests)
        # as JSON, in which no tenant's name can pass for another's with a salt
        owner = json.dumps([tenant, cache_salt]) if cache_salt else tenant
        tasks: list[Task] = []
        echoes: dict[int, str] = {}
        for request, prompt, adapter in zip(requests, prompts, adapters, strict=True):
            length = self._prompter.room(prompt, request.max_tokens)
            if any(sampling.min_new_tokens > length for sampling in request.samplings):
                message = f"min_tokens must be {length} at most, which is what may be written here"
                raise BadRequest(message, param="min_tokens")
            if request.echo:
                echo = self._prompter.text(request.query)
                echoes |= {len(tasks) + place: echo for place in range(len(request.samplings))}
            tasks += [
                Task(prompt, replace(sampling, max_new_tokens=length), owner, adapter)
                for sampling in request.samplings
            ]
        source = self._engine.generate(tasks)
        timed = self._metrics.timed(source, begun)
        texts = [WrittenText() for _ in tasks]
        logged = asked if self._log_texts else None
        stream = TextStream(prompts, histories, texts, source, timed, logged, echoes)
        self._metrics.prompt_tokens.inc(stream.prompt_tokens)
        return stream

    # What is forgotten here is forgotten everywhere, also where it is being learned

    def delete(self, tenant: str, user: str, id: str) -> bool:
        """Delete one document, and an adapter that may have learned it; whether there was one."""
        return self._store.delete(tenant, user, id) and self._dropped(tenant, user)

    def forget(self, tenant: str, user: str) -> bool:
        """Delete a user with all documents and what was learned; whether there was one."""
        return self._store.forget(tenant, user) and self._dropped(tenant, user)

    def adapter_of(self, tenant: str, user: str) -> PersonAdapter | None:
        """What was learned of a user, and whether more is being; `None`: nothing and no."""
        status = self._learner.status(tenant, user) if self._learner else "idle"
        record = self._store.adapter_record(tenant, user)
        if record is None:
            return None if status == "idle" else PersonAdapter(status, None, 0, None)
        return PersonAdapter(status, record.about, record.version, record.last_try)

    def forget_adapter(self, tenant: str, user: str) -> bool:
        """Forget what was learned of a user; it is learned again only when new texts come.

        Whether there was anything, or was to be.
        """
        if self.adapter_of(tenant, user) is None:
            return False
        return self._store.forget_adapter(tenant, user) and self._dropped(tenant, user)

    def _dropped(self, tenant: str, user: str) -> bool:
        self._engine.forget(user)
        if self._learner:
            self._learner.drop(tenant, user)
        return True

    def _check_tokens(self, samplings: Sequence[Sampling]) -> None:
        """Refuse what names tokens that the model does not have."""
        for sampling in samplings:
            named = {
                "logit_bias": [token for token, _ in sampling.logit_bias],
                "stop_token_ids": sampling.stop_token_ids,
            }
            for param, ids in named.items():
                if any(not 0 <= token < self._prompter.vocabulary for token in ids):
                    wanted = f"ids of tokens, from 0 to {self._prompter.vocabulary - 1}"
                    raise BadRequest(f"{param} needs {wanted}", param=param)

    def _prompts(
        self, tenant: str, requests: Sequence[WritingRequest]
    ) -> tuple[list[Prompt], list[Sequence[Document]], list[Adapter | None]]:
        """The prompt of each request, all past texts and the adapter of its user.

        The user is ever the tenant's.
        """
        while True:
            histories: dict[str | None, Sequence[Document]] = {None: []}
            for request in requests:
                if request.user is not None and request.user not in histories:
                    histories[request.user] = self._store.past(tenant, request.user) or []
            try:
                prompts = [self._prompt(request, histories[request.user]) for request in requests]
            except DocumentGone:
                continue
            pasts = [histories[request.user] for request in requests]
            return prompts, pasts, [self._adapter(tenant, request) for request in requests]

    def _adapter(self, tenant: str, request: WritingRequest) -> Adapter | None:
        """That of the user; what is read as it is, is the model's alone."""
        if request.user is None or request.echo or not isinstance(request.query, str):
            return None
        return self._adapters.of(tenant, request.user)

    def _prompt(self, request: WritingRequest, history: Sequence[Document]) -> Prompt:
        if not isinstance(request.query, str):
            return self._prompter.verbatim(request.query)
        if request.echo:
            return self._prompter.plain(request.query)
        return self._prompter.personal(request.query, request.earlier, history, request.history_k)
