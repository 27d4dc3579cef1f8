"""`Writer`: many texts at once, joining and leaving as they come and end."""

import time
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from tokenizers.decoders import DecodeStream

from flythinker.data.prompt import Prompt, end_of_turn_id
from flythinker.decoding.draft import PromptLookup
from flythinker.decoding.draft_choice import DraftChoice, Way
from flythinker.decoding.engine import Engine, Part
from flythinker.decoding.sampler import Sampler
from flythinker.decoding.sampling import Sampling
from flythinker.model_folder import PersonalModel

REASONER_DRAFTS = (1, 3)  # each more costs a whole pass of the Reasoner and is right less often
FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(eq=False)
class Writing:
    """One text as it is written.

    Attributes:
        prompt: what it answers. `sampling`: how it is drawn.
        token_ids: written so far, without the token that ended it.
        text: written so far, without a stop string; what may still become one is held back.
        finish_reason: "stop" (it ended by itself or at a stop string), "length", "cancelled";
            `None` while it is being written.
    """

    prompt: Prompt
    sampling: Sampling
    token_ids: list[int] = field(default_factory=list)
    text: str = ""
    finish_reason: FinishReason | None = None
    _pending: str = ""  # decoded, and held back

    def cancel(self) -> None:
        """Stop; its slot is free at the next step."""
        self.finish_reason = self.finish_reason or "cancelled"


class Writer:
    """Continuous batching over one model: each step reads one token of every text in work.

    A new text joins at the next step, one prompt a step, while there is a free slot. What a text
    becomes does not depend on its company: it is what `generate` writes of it alone.

    Attributes:
        drafted, accepted: tokens drafted so far, and those of them that proved right.
        choice: how the drafts of a step are chosen.
    """

    def __init__(
        self,
        personal: PersonalModel,
        slots: int = 8,
        prefix_bytes: int = 2**30,
        draft_tokens: int = 8,
        int8: Collection[Part] = (),
    ) -> None:
        """Make room for `slots` texts at the same time.

        `personal.model` is taken over, see `Engine`. Prompts read are kept in up to `prefix_bytes`
        of memory, so that the next prompt that begins as one of them (the same user's profile)
        costs only what differs. In a step up to `draft_tokens` are drafted over all texts, in the
        way that `DraftChoice` finds the fastest; 0 is without drafts. The parts named by `int8` get
        8-bit weights: faster, and not quite the same texts.
        """
        self.personal = personal
        self.slots = slots
        self.engine = Engine(personal.model, slots, prefix_bytes, int8=int8)
        self.eos = end_of_turn_id(personal.tokenizer)
        self.draft_tokens = draft_tokens
        self.choice = DraftChoice()
        self.drafted = self.accepted = 0
        self.waiting: deque[Writing] = deque()
        self.working: list[_Slot] = []

    def submit(self, prompt: Prompt, sampling: Sampling) -> Writing:
        """Queue a text; `step` writes it."""
        writing = Writing(prompt, sampling)
        self.waiting.append(writing)
        return writing

    @property
    def idle(self) -> bool:
        """Whether there is nothing to write."""
        return not self.waiting and not self.working

    @torch.inference_mode()
    def step(self) -> list[tuple[Writing, str]]:
        """Write one token of every text; returns the texts that grew or ended and what was added.

        Texts that ended have left when it returns.
        """
        changed = self._remove_finished()
        for slot, added in [*self._go_on(), *self._join_next()]:
            if added or slot.writing.finish_reason:
                changed.append((slot.writing, added))
        self._remove_finished()
        return changed

    def write(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[str]:
        """Write a response to each prompt, as many at a time as there are slots.

        Each is drawn with the seed `sampling.seed`, so the same prompt gives the same text.
        """
        writings = [self.submit(prompt, sampling) for prompt in prompts]
        while not self.idle:
            self.step()
        return [writing.text.strip() for writing in writings]

    def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[str]:
        """Write one text and yield it in pieces; abandoning the iterator cancels it."""
        writing = self.submit(prompt, sampling)
        try:
            while writing.finish_reason is None:
                yield from (added for one, added in self.step() if one is writing and added)
        finally:
            writing.cancel()

    def _go_on(self) -> list[tuple["_Slot", str]]:
        """Read the last token of every text in work, and drafts after it; draw what follows."""
        if not self.working:
            return []
        begun = time.perf_counter()
        texts = len(self.working)
        way, drafts = self._draft()
        longest = max(map(len, drafts))
        ids = [
            [slot.ids[-1], *draft, *[self.eos] * (longest - len(draft))]
            for slot, draft in zip(self.working, drafts, strict=True)
        ]
        logits = self.engine.read(torch.tensor(ids, device=self.personal.model.device))
        added, counts = [], []
        for slot, draft, rows in zip(self.working, drafts, logits, strict=True):
            before = len(slot.ids)
            added.append((slot, slot.advance(rows, draft)))
            counts.append(len(slot.ids) - before)
            self.drafted += len(draft)
            self.accepted += counts[-1] - 1
        self.choice.note(texts, way, sum(counts), time.perf_counter() - begun)
        self.engine.keep(counts)
        return added

    def _draft(self) -> tuple[Way, list[list[int]]]:
        """Drafts of every text in work, and the way that was chosen for them."""
        room = self.draft_tokens // len(self.working)
        found = [slot.lookup.draft(min(room, slot.left() - 1)) for slot in self.working]
        ways = [Way("none", 0)]
        if any(found):
            ways.append(Way("lookup", room))
        if self.engine.thinks:
            ways += [Way("reasoner", tokens) for tokens in REASONER_DRAFTS if tokens <= room]
        way = self.choice.choose(len(self.working), ways)
        if way.source == "none":
            return way, [[] for _ in self.working]
        if way.source == "lookup":
            return way, found
        last = [[slot.ids[-1]] for slot in self.working]
        ids = torch.tensor(last, device=self.personal.model.device)
        return way, self.engine.draft(ids, way.tokens).tolist()

    def _join_next(self) -> list[tuple["_Slot", str]]:
        """Read the prompt of the next text, if there is room, and draw its first token."""
        writing = self._next_waiting()
        if writing is None:
            return []
        slot = _Slot(writing, self.personal, self.eos)
        logits = self.engine.join(writing.prompt.prompt_ids, writing.prompt.reasoner_ids)
        self.working.append(slot)
        return [(slot, slot.advance(logits[None], []))]

    def _next_waiting(self) -> Writing | None:
        while self.waiting and len(self.working) < self.slots:
            writing = self.waiting.popleft()
            if writing.finish_reason is None:
                return writing
        return None

    def _remove_finished(self) -> list[tuple[Writing, str]]:
        """Free the slots of texts that have ended; the last text takes the place of each."""
        left = []
        for number in reversed(range(len(self.working))):
            writing = self.working[number].writing
            if writing.finish_reason is not None:
                left.append((writing, ""))
                self.engine.leave(number)
                self.working[number] = self.working[-1]
                self.working.pop()
        return left


class _Slot:
    """A text in work: its sampler, its decoder, and when it ends."""

    def __init__(self, writing: Writing, personal: PersonalModel, eos: int) -> None:
        self.writing = writing
        self.eos = eos
        self.lookup = PromptLookup(writing.prompt.prompt_ids)
        self.ids = self.lookup.ids
        self.sampler = Sampler(writing.sampling, len(self.ids), eos, personal.model.device)
        self.tokenizer = personal.tokenizer
        self.stream = DecodeStream(skip_special_tokens=True)

    def left(self) -> int:
        """Tokens that may still be written."""
        return self.writing.sampling.max_new_tokens - len(self.writing.token_ids)

    def advance(self, logits: torch.Tensor, draft: list[int]) -> str:
        """Draw the next token, and one more for each draft that proves right.

        Row i of `logits` [1 + drafts or more, vocab] follows the first i drafted tokens. Returns
        what is added to the text.
        """
        added = ""
        for row, drafted in zip(logits, [*draft, None], strict=False):
            token = self.sampler.draw(row, self.ids)
            self.lookup.add(token)
            added += self._append(token)
            if self.writing.finish_reason or token != drafted:
                break
        return added

    def _append(self, token: int) -> str:
        """The text goes on with `token`; returns what can be shown of it."""
        writing = self.writing
        if token == self.eos:
            return self._end("stop", whole=True)
        writing.token_ids.append(token)
        writing._pending += self.stream.step(self.tokenizer.backend_tokenizer, token) or ""
        for stop in writing.sampling.stop:
            if stop in writing._pending:
                writing._pending = writing._pending.partition(stop)[0]
                return self._end("stop")
        if self.left() == 0:
            return self._end("length", whole=True)
        return self._release(held=_may_become(writing._pending, writing.sampling.stop))

    def _end(self, reason: FinishReason, whole: bool = False) -> str:
        writing = self.writing
        writing.finish_reason = reason
        if whole:  # bytes that the stream held back because they are no character yet
            text = self.tokenizer.decode(writing.token_ids, skip_special_tokens=True)
            writing._pending += text[len(writing.text + writing._pending) :]
        return self._release(held=0)

    def _release(self, held: int) -> str:
        writing = self.writing
        cut = len(writing._pending) - held
        added, writing._pending = writing._pending[:cut], writing._pending[cut:]
        writing.text += added
        return added


def _may_become(text: str, stops: Sequence[str]) -> int:
    """How many characters at the end of `text` begin a stop string."""
    return max(
        (n for stop in stops for n in range(1, len(stop)) if text.endswith(stop[:n])), default=0
    )
