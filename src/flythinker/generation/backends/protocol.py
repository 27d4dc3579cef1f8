"""What writes for the server: the interface that the local and the remote engine share."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from transformers import PreTrainedTokenizerBase

from flythinker.adapter import Adapter
from flythinker.data.prompt import Prompt, PromptConfig
from flythinker.generation.backends.errors import EngineError
from flythinker.generation.sampling import Sampling
from flythinker.generation.token_bytes import TokenBytes


@dataclass(frozen=True)
class Task:
    """One text to write; a request asks for one or more.

    Nothing that an engine remembers of a prompt serves one of another `owner`. An `adapter` is one
    that the engine takes.
    """

    prompt: Prompt
    sampling: Sampling
    owner: str
    adapter: Adapter | None = None


@dataclass(frozen=True)
class TokenText:
    """A token and its log-probability before temperature and top-p.

    Attributes:
        token_id: its id.
        text: what it is called; a piece of a character is written in bytes.
        raw: its bytes; those of a text's tokens, joined, are the text.
        logprob: in nats; `None` of a prompt's first token, which follows nothing.
    """

    token_id: int
    text: str
    raw: bytes
    logprob: float | None

    @classmethod
    def of(cls, token_id: int, logprob: float | None, names: TokenBytes) -> "TokenText":
        """The token of that id, as `names` has it."""
        return cls(token_id, names.name(token_id), names(token_id), logprob)


@dataclass(frozen=True)
class TokenLogprob:
    """A token of a prompt or a text, and the likeliest ones in its place, likeliest first."""

    token: TokenText
    top: tuple[TokenText, ...]


@dataclass(frozen=True)
class ThoughtEffect:
    """What the thoughts did to a token that was written.

    Attributes:
        text: the token's; empty for a piece of a character that a later token completes.
        kl: how far they moved its prediction, against none of them, in nats.
        words: those of the vocabulary near the thought before it, nearest first.
    """

    text: str
    kl: float
    words: tuple[str, ...]


@dataclass(frozen=True)
class Piece:
    """What one text of a request grew by.

    Attributes:
        index: the text's place among the request's tasks.
        text: what is added. It may lag behind `token_ids`: half a character and what may become
            a stop string are held back.
        token_ids: the tokens added.
        logprobs, effects: one for each of `token_ids`, if its `Sampling` asks for them; `logprobs`
            of the first piece begin with those of the whole prompt, if it asks for them.
        finish_reason: set in the last piece of a text.
    """

    index: int
    text: str
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: Literal["stop", "length"] | None = None
    effects: tuple[ThoughtEffect, ...] = ()


class Pieces(AsyncIterator[Piece]):
    """The pieces of all texts of one request, in the order they are written.

    An engine puts, on the event loop; one client iterates. Iterating raises the error that ended
    the request.
    """

    def __init__(self, texts: int, on_cancel: Callable[[], None]) -> None:
        """`on_cancel` is called once at most, when the client wants no more."""
        self._queue: asyncio.Queue[Piece | EngineError | None] = asyncio.Queue()
        self._unfinished = texts
        self._on_cancel = on_cancel
        self._cancelled = False

    def put(self, piece: Piece | EngineError) -> None:
        """Hand over a piece, or the error that ends the request."""
        self._queue.put_nowait(piece)

    def cancel(self) -> None:
        """The client wants no more: the engine stops writing and the iteration ends."""
        if not self._cancelled:
            self._cancelled = True
            self._on_cancel()
            self._queue.put_nowait(None)

    async def __anext__(self) -> Piece:
        if self._cancelled or self._unfinished == 0:
            raise StopAsyncIteration
        piece = await self._queue.get()
        if isinstance(piece, EngineError):
            raise piece
        if piece is None or self._cancelled:
            raise StopAsyncIteration
        if piece.finish_reason is not None:
            self._unfinished -= 1
        return piece


@dataclass(frozen=True)
class Stats:
    """What an engine is doing (`waiting` and `working` texts), and what it has done so far.

    `drafted` and `accepted` count tokens, `prefix_hits` and `prefix_misses` tokens of prompts. An
    engine elsewhere knows only what it has sent there; the rest is 0.
    """

    waiting: int
    working: int
    drafted: int = 0
    accepted: int = 0
    prefix_hits: int = 0
    prefix_misses: int = 0


class Engine(Protocol):
    """Writes texts.

    Attributes:
        tokenizer: the model's.
        prompt_config: how the model was prompted in training.
        context_length: the most tokens that prompt and text may have together.
        has_fusion_weight: whether a request may choose its own λ.
        fusion_weight: the model's own λ.
        has_prompt_logprobs: whether it can tell log-probabilities of prompts, and write nothing.
        has_effects: whether it can tell the effects of thoughts, see `Sampling.effects`.
        adapter_base: what adapters of the Reasoner must be made for; `None`: it takes none.
    """

    tokenizer: PreTrainedTokenizerBase
    prompt_config: PromptConfig
    context_length: int
    has_fusion_weight: bool
    fusion_weight: float
    has_prompt_logprobs: bool
    has_effects: bool
    adapter_base: str | None

    def generate(self, tasks: Sequence[Task]) -> Pieces:
        """Write all texts of one request; called on the event loop.

        Raises:
            EngineBusy: too much is waiting.
            EngineClosed: the engine takes nothing new.
        """
        ...

    @property
    def ready(self) -> bool:
        """Whether it can write, and takes new requests."""
        ...

    def takes(self, adapter: Adapter) -> bool:
        """Whether texts can be written with it: it is of this model."""
        ...

    def forget(self, user: str) -> None:
        """Leave nothing of a user's adapters on a disk; called on any thread."""
        ...

    def stats(self) -> Stats:
        """Counts for the metrics."""
        ...

    async def close(self, timeout: float) -> None:
        """Take nothing new, let what runs finish for `timeout` seconds, then end it.

        Texts that are ended so raise `EngineClosed` to their client. It returns when all is over,
        and may be called again.
        """
        ...
