"""The engine in this process: one thread owns the `Writer`, everybody else sends it messages."""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread

from flythinker.adapter import Adapter
from flythinker.errors import FlyThinkerError
from flythinker.generation.backends import errors
from flythinker.generation.backends.protocol import (
    Piece,
    Pieces,
    Stats,
    Task,
    ThoughtEffect,
    TokenLogprob,
    TokenText,
)
from flythinker.generation.sequence import Sequence
from flythinker.generation.sequence import TokenLogprob as ScoredToken
from flythinker.generation.token_bytes import TokenBytes
from flythinker.generation.writer import Writer
from flythinker.model.config import context_length

logger = logging.getLogger(__name__)

BROKEN_AFTER = 3
"""So many steps failing in a row mean that the engine is broken, not the requests."""


@dataclass(eq=False)
class _Text:
    """One text of a request. `pieces` is touched on `loop` only, the rest by the thread."""

    index: int
    task: Task
    loop: asyncio.AbstractEventLoop
    pieces: Pieces
    sent_tokens: int = 0
    sent_prompt: bool = False


class LocalEngine:
    """Continuous batching of everybody's requests by one `Writer`; the interface is `Engine`'s.

    Clients live on the event loop; the thread takes their messages between two steps and hands
    pieces back with `call_soon_threadsafe`. Neither waits for the other.
    """

    has_prompt_logprobs = True

    def __init__(self, writer: Writer, max_queue: int) -> None:
        """Take over a writer; up to `max_queue` texts may wait for a free slot of it."""
        personal = writer.personal
        self.tokenizer = personal.tokenizer
        self.prompt_config = personal.prompt
        self.context_length = context_length(personal.model.config)
        self.has_fusion_weight = writer.runner.thinks
        self.fusion_weight = personal.model.config.fusion_weight
        self.has_effects = (
            writer.runner.thinks and writer.runner.effects and writer.scheduler.capacity > 1
        )
        self.adapter_base = writer.runner.adapters.base("reasoner")
        self._writer = writer
        self._names = TokenBytes(self.tokenizer)
        self._room = writer.scheduler.capacity + max_queue
        self._open = 0  # texts taken and not over; the event loop's
        self._ends: deque[float] = deque(maxlen=16)  # when the last texts were over; the loop's
        self._closing = False
        self._failed_steps = 0
        self._texts: dict[Sequence, _Text] = {}  # being written or waiting; the thread's
        self._inbox: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def generate(self, tasks: Collection[Task]) -> Pieces:
        """See `Engine`. A request alone may be larger than the queue; beside others it must fit."""
        if self._closing:
            raise errors.EngineClosed
        if self._open and self._open + len(tasks) > self._room:
            seconds = self._retry_after()
            message = f"too many texts are waiting; try again in {seconds} s"
            raise errors.EngineBusy(message, seconds, "queue_full")
        texts: list[_Text] = []
        pieces = Pieces(len(tasks), lambda: self._inbox.put(partial(self._cancel, texts)))
        loop = asyncio.get_running_loop()
        texts += [_Text(index, task, loop, pieces) for index, task in enumerate(tasks)]
        self._open += len(texts)
        self._inbox.put(partial(self._submit, texts))
        return pieces

    @property
    def ready(self) -> bool:
        """See `Engine`."""
        broken = self._failed_steps >= BROKEN_AFTER or not self._thread.is_alive()
        return not self._closing and not broken

    def takes(self, adapter: Adapter) -> bool:
        """See `Engine`."""
        try:
            self._writer.runner.adapters.check(adapter)
        except FlyThinkerError:
            return False
        return True

    def forget(self, user: str) -> None:
        """See `Engine`: it reads adapters from memory."""

    def stats(self) -> Stats:
        """See `Engine`."""
        writer, prefixes = self._writer, self._writer.runner.prefixes
        working = min(len(writer.scheduler.running), self._open)
        return Stats(
            self._open - working,
            working,
            writer.drafted,
            writer.accepted,
            prefixes.hits,
            prefixes.misses,
        )

    async def close(self, timeout: float) -> None:
        """See `Engine`."""
        self._closing = True
        deadline = time.monotonic() + timeout
        while self._open and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        self._inbox.put(None)
        await asyncio.to_thread(self._thread.join)

    def _retry_after(self) -> int:
        """Seconds until a text is likely to be over, from how often that happened lately."""
        if len(self._ends) < 2:
            return 1
        gap = (self._ends[-1] - self._ends[0]) / (len(self._ends) - 1)
        return min(max(1, math.ceil(gap)), 60)

    def _receive(self, text: _Text, piece: Piece | errors.EngineError | None) -> None:
        """On the event loop: hand a piece to the client; no piece means it was cancelled."""
        if not isinstance(piece, Piece) or piece.finish_reason is not None:
            self._open -= 1
            self._ends.append(time.monotonic())
        if piece is not None:
            text.pieces.put(piece)

    # All that follows runs in the thread.

    def _run(self) -> None:
        while self._read_inbox():
            try:
                changed = self._writer.step()
            except Exception as error:
                self._failed_steps += 1
                logger.exception("a step failed: %s", type(error).__name__)
                self._give_up()
            else:
                self._failed_steps = 0
                for sequence, added in changed:
                    self._send(sequence, added)
        for text in self._texts.values():
            self._hand_over(text, errors.EngineClosed())

    def _read_inbox(self) -> bool:
        """Do what clients ask for, waiting for them when there is nothing to write; False: stop."""
        wait = self._writer.idle
        while True:
            try:
                message = self._inbox.get(block=wait)
            except Empty:
                return True
            if message is None:
                return False
            message()
            wait = False

    def _submit(self, texts: list[_Text]) -> None:
        for text in texts:
            task = text.task
            sequence = self._writer.submit(task.prompt, task.sampling, task.owner, task.adapter)
            self._texts[sequence] = text

    def _cancel(self, texts: list[_Text]) -> None:
        for sequence, text in list(self._texts.items()):
            if text in texts:
                sequence.cancel()
                del self._texts[sequence]
                self._hand_over(text, None)

    def _give_up(self) -> None:
        """End the texts that a failed step was writing; those that wait have lost nothing."""
        self._writer.abandon()
        for sequence in set(self._texts) - set(self._writer.scheduler.waiting):
            error = errors.EngineFailed("the engine failed on this text")
            self._hand_over(self._texts.pop(sequence), error)

    def _send(self, sequence: Sequence, added: str) -> None:
        text = self._texts.get(sequence)
        if text is None:  # cancelled
            return
        since, text.sent_tokens = text.sent_tokens, len(sequence.token_ids)
        ids = tuple(sequence.token_ids[since:])
        logprobs = tuple(map(self._named, sequence.logprobs[since : since + len(ids)]))
        if sequence.sampling.prompt_logprobs is not None and not text.sent_prompt:
            text.sent_prompt = True
            first = TokenLogprob(self._token_text(sequence.prompt.prompt_ids[0], None), ())
            logprobs = (first, *map(self._named, sequence.prompt_logprobs), *logprobs)
        effects = tuple(
            ThoughtEffect(one.text, one.kl, one.words)
            for one in sequence.effects[since : since + len(ids)]
        )
        reason = sequence.finish_reason
        assert reason != "cancelled"  # such a text is no longer known here
        if reason is not None:
            del self._texts[sequence]
        self._hand_over(text, Piece(text.index, added, ids, logprobs, reason, effects))

    def _named(self, scored: ScoredToken) -> TokenLogprob:
        top = tuple(self._token_text(*likely) for likely in scored.top)
        return TokenLogprob(self._token_text(scored.token_id, scored.logprob), top)

    def _token_text(self, token_id: int, logprob: float | None) -> TokenText:
        return TokenText.of(token_id, logprob, self._names)

    def _hand_over(self, text: _Text, piece: Piece | errors.EngineError | None) -> None:
        text.loop.call_soon_threadsafe(self._receive, text, piece)
