"""The engine elsewhere: an OpenAI-compatible endpoint, as vLLM with our plugin."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

import openai
from openai.types import CompletionChoice
from transformers import PreTrainedTokenizerBase

from flythinker.adapter import Adapter
from flythinker.data.prompt import PromptConfig
from flythinker.errors import FlyThinkerError
from flythinker.generation.backends import errors
from flythinker.generation.backends.protocol import (
    Piece,
    Pieces,
    Stats,
    Task,
    TokenLogprob,
    TokenText,
)
from flythinker.generation.backends.vllm_adapters import VllmAdapters
from flythinker.generation.backends.vllm_names import vllm_settings
from flythinker.generation.token_bytes import TokenBytes

logger = logging.getLogger(__name__)


class RemoteEngine:
    """Sends prompts as token ids to `/v1/completions`; the interface is `Engine`'s.

    Prompts are rendered here, so that the endpoint needs to know nothing of users. It must serve
    the same model that `tokenizer` and `prompt_config` are of, and say the ids of the tokens that
    it writes (vLLM's `return_token_ids` and `return_tokens_as_token_ids`).
    """

    has_fusion_weight = False
    fusion_weight = 0.0  # not known here
    has_prompt_logprobs = False
    has_effects = False

    def __init__(
        self,
        client: openai.AsyncOpenAI,
        model: str,
        tokenizer: PreTrainedTokenizerBase,
        prompt_config: PromptConfig,
        context_length: int,
        max_texts: int,
        adapters: VllmAdapters | None = None,
    ) -> None:
        """Write with the endpoint's `model`, with up to `max_texts` texts there at a time.

        `adapters` are persons' at the endpoint; `None`: it takes none.

        Raises:
            FlyThinkerError: the model's Reasoner has a prompt of its own, which cannot be sent.
        """
        if prompt_config.reasoner_k is not None:
            raise FlyThinkerError("a Reasoner with a prompt of its own needs the local engine")
        self.tokenizer = tokenizer
        self.prompt_config = prompt_config
        self.context_length = context_length
        self.adapter_base = adapters.base if adapters else None
        self._adapters = adapters
        self._names = TokenBytes(tokenizer)
        self._client = client
        self._model = model
        self._room = max_texts
        self._writing: set[asyncio.Task[None]] = set()
        self._closing = False

    def generate(self, tasks: Sequence[Task]) -> Pieces:
        """See `Engine`."""
        if self._closing:
            raise errors.EngineClosed
        if self._writing and len(self._writing) + len(tasks) > self._room:
            message = "too many texts are being written; try again in 1 s"
            raise errors.EngineBusy(message, 1, "queue_full")
        writes: list[asyncio.Task[None]] = []

        def cancel() -> None:
            for write in writes:
                write.cancel()

        pieces = Pieces(len(tasks), cancel)
        for index, task in enumerate(tasks):
            write = asyncio.create_task(self._write(index, task, pieces))
            write.add_done_callback(self._writing.discard)
            self._writing.add(write)
            writes.append(write)
        return pieces

    @property
    def ready(self) -> bool:
        """See `Engine`; whether the endpoint is there shows when it is asked."""
        return not self._closing

    def takes(self, adapter: Adapter) -> bool:
        """See `Engine`."""
        return self._adapters is not None and self._adapters.takes(adapter)

    def forget(self, user: str) -> None:
        """See `Engine`."""
        if self._adapters is not None:
            self._adapters.forget(user)

    def stats(self) -> Stats:
        """See `Engine`."""
        return Stats(waiting=0, working=len(self._writing))

    async def close(self, timeout: float) -> None:
        """See `Engine`."""
        self._closing = True
        if self._writing:
            _, late = await asyncio.wait(self._writing, timeout=timeout)
            for write in late:
                write.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._client.close()

    async def _write(self, index: int, task: Task, pieces: Pieces) -> None:
        """Write one text; whatever ends it early is handed to the client."""
        ended = False
        try:
            async with (
                self._model_of(task) as model,
                await self._client.completions.create(**self._arguments(task, model)) as stream,
            ):
                async for chunk in stream:
                    for choice in chunk.choices:
                        pieces.put(piece := self._piece(index, choice))
                        ended = piece.finish_reason is not None
            if not ended:
                pieces.put(errors.EndpointFailed("the engine broke off"))
        except asyncio.CancelledError:
            pieces.put(errors.EngineClosed())  # or nobody listens
            raise
        except openai.APIError as error:
            logger.warning("the endpoint failed: %s", type(error).__name__)
            pieces.put(_mapped(error))
        except Exception as error:
            logger.exception("an answer of the endpoint could not be read")
            pieces.put(errors.EndpointFailed(f"the engine: {type(error).__name__}"))

    def _model_of(self, task: Task) -> AbstractAsyncContextManager[str]:
        """What the endpoint calls the model that the text is written with."""
        if self._adapters is None or task.adapter is None:
            return nullcontext(self._model)
        return self._adapters.loaded(task.adapter)

    def _arguments(self, task: Task, model: str) -> dict[str, Any]:
        sampling = task.sampling
        return {
            "model": model,
            "prompt": task.prompt.prompt_ids,
            "max_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed,
            "stop": list(sampling.stop) or None,
            "logprobs": sampling.logprobs,
            "stream": True,
            "extra_body": {
                "return_token_ids": True,
                "return_tokens_as_token_ids": True,
                "cache_salt": task.owner,
            }
            | vllm_settings(sampling),
        }

    def _piece(self, index: int, choice: CompletionChoice) -> Piece:
        reason = choice.finish_reason
        return Piece(
            index,
            choice.text,
            tuple(getattr(choice, "token_ids", None) or ()),
            self._logprobs(choice),
            reason if reason in ("stop", "length") else None,
        )

    def _logprobs(self, choice: CompletionChoice) -> tuple[TokenLogprob, ...]:
        shown = choice.logprobs
        if shown is None or shown.tokens is None or shown.token_logprobs is None:
            return ()
        top = shown.top_logprobs or [{} for _ in shown.tokens]
        return tuple(
            TokenLogprob(
                self._token_text(token, logprob),
                tuple(self._token_text(*likely) for likely in (likeliest or {}).items()),
            )
            for token, logprob, likeliest in zip(
                shown.tokens, shown.token_logprobs, top, strict=True
            )
        )

    def _token_text(self, token: str, logprob: float) -> TokenText:
        """`token` is `token_id:` and the id: two tokens may be the same as text."""
        return TokenText.of(int(token.removeprefix("token_id:")), logprob, self._names)


def _mapped(error: openai.APIError) -> errors.EngineError:
    """Tell a client's own mistakes and a full queue as such, the rest as the endpoint's failure."""
    if isinstance(error, openai.BadRequestError):
        return errors.EndpointRefused(f"the engine refuses the request: {error}")
    if isinstance(error, openai.RateLimitError):
        seconds = error.response.headers.get("retry-after", "")
        retry_after = int(seconds) if seconds.isdecimal() else 1
        return errors.EngineBusy("the engine is full", retry_after)
    if isinstance(error, openai.APIConnectionError):
        return errors.EndpointUnreachable("the engine cannot be reached", retry_after=5)
    return errors.EndpointFailed("the engine failed")
