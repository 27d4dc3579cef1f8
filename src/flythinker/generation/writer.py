"""`Writer`: many texts at once, joining and leaving as they come and end."""

import time
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from flythinker.data.prompt import Prompt, end_of_turn_id
from flythinker.errors import FlyThinkerError
from flythinker.generation.draft_choice import DraftChoice, Way
from flythinker.generation.effects import Effect, NearWords, kl_nats
from flythinker.generation.runner import Engine, Part
from flythinker.generation.sampling import Sampling
from flythinker.generation.sequence import TextState, Writing
from flythinker.model_folder import PersonalModel

REASONER_DRAFTS = (1, 3)  # each more costs a whole pass of the Reasoner and is right less often


class _Row(NamedTuple):
    """What a slot of the engine is for: a text, or the twin that reads it without thoughts."""

    text: TextState
    is_twin: bool


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
        self._rows: list[_Row] = []  # of the engine's slots

    def submit(self, prompt: Prompt, sampling: Sampling, owner: str = "") -> Writing:
        """Queue a text; `step` writes it.

        Prompts of different owners share nothing in the prefix cache, see `Engine.join`.

        Raises:
            FlyThinkerError: it asks for a λ or for effects of thoughts, of a model that has none;
                or for effects, with a single slot.
        """
        if sampling.fusion_weight is not None and not self.engine.thinks:
            raise FlyThinkerError("this model has no thoughts: leave out fusion_weight")
        if sampling.effects and not self.engine.thinks:
            raise FlyThinkerError("this model has no thoughts that could have effects")
        if _slots_of(sampling) > self.slots:
            raise FlyThinkerError("effects of thoughts need a Writer of 2 slots or more")
        writing = Writing(prompt, sampling, owner)
        self.waiting.append(writing)
        return writing

    @property
    def working(self) -> list[Writing]:
        """The texts in slots."""
        return [row.text.writing for row in self._rows if not row.is_twin]

    @property
    def idle(self) -> bool:
        """Whether there is nothing to write."""
        return not self.waiting and not self._rows

    @torch.inference_mode()
    def step(self) -> list[tuple[Writing, str]]:
        """Write one token of every text; returns the texts that grew or ended and what was added.

        Texts that ended have left when it returns.
        """
        changed = self._remove_finished()
        for writing, added in [*self._go_on(), *self._join_next()]:
            if added or writing.finish_reason:
                changed.append((writing, added))
        self._remove_finished()
        return changed

    def abandon(self) -> None:
        """Cancel all texts in work after a step that failed; those that wait can be written."""
        for writing in self.working:
            writing.cancel()
        self._rows.clear()
        self.engine.clear()

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

    def _go_on(self) -> list[tuple[Writing, str]]:
        """Read the last token of every text in work, and drafts after it; draw what follows."""
        if not self._rows:
            return []
        begun = time.perf_counter()
        way, drafts = self._draft()
        longest = max(map(len, drafts.values()))
        ids = []
        for text, _ in self._rows:
            draft = drafts[text]
            ids.append([text.ids[-1], *draft, *[self.eos] * (longest - len(draft))])
        logits = self.engine.read(torch.tensor(ids, device=self.personal.model.device))
        twins = {row.text: n for n, row in enumerate(self._rows) if row.is_twin}
        added, counts = [], {}
        for number, (text, is_twin) in enumerate(self._rows):
            if is_twin:
                continue
            effects = None
            if text in twins:
                effects = self._effects(number, logits[number], logits[twins[text]])
            before = len(text.ids)
            added.append((text.writing, text.advance(logits[number], drafts[text], effects)))
            counts[text] = len(text.ids) - before
            self.drafted += len(drafts[text])
            self.accepted += counts[text] - 1
        seconds = time.perf_counter() - begun
        self.choice.note(len(self._rows), way, sum(counts.values()), seconds)
        self.engine.keep([counts[text] for text, _ in self._rows])
        return added

    def _draft(self) -> tuple[Way, dict[TextState, list[int]]]:
        """Drafts of every text in work, and the way that was chosen for them."""
        room = self.draft_tokens // len(self._rows)
        found = {text: text.lookup.draft(min(room, text.left() - 1)) for text, _ in self._rows}
        ways = [Way("none", 0)]
        if any(found.values()):
            ways.append(Way("lookup", room))
        if self.engine.thinks:
            ways += [Way("reasoner", tokens) for tokens in REASONER_DRAFTS if tokens <= room]
        way = self.choice.choose(len(self._rows), ways)
        if way.source == "none":
            return way, {text: [] for text in found}
        if way.source == "lookup":
            return way, found
        last = [[text.ids[-1]] for text, _ in self._rows]
        ids = torch.tensor(last, device=self.personal.model.device)
        drafted = self.engine.draft(ids, way.tokens).tolist()
        rows = zip(self._rows, drafted, strict=True)
        return way, {row.text: draft for row, draft in rows if not row.is_twin}

    def _join_next(self) -> list[tuple[Writing, str]]:
        """Read the prompt of the next text, if there is room, and draw its first token."""
        writing = self._next_waiting()
        if writing is None:
            return []
        text = TextState(writing, self.personal, self.eos)
        effects = None
        try:
            without = self._join(text, is_twin=True) if writing.sampling.effects else None
            logits = self._join(text, is_twin=False)
            if without is not None:
                effects = self._effects(len(self._rows) - 1, logits, without)
        except BaseException:
            writing.cancel()  # it waits no more, and is not in work yet
            raise
        return [(writing, text.advance(logits, [], effects))]

    def _join(self, text: TextState, is_twin: bool) -> Tensor:
        """Give a text a slot; returns logits [1, vocab] of what follows its prompt."""
        writing = text.writing
        prompt, weight = writing.prompt, 0.0 if is_twin else writing.sampling.fusion_weight
        logits = self.engine.join(prompt.prompt_ids, prompt.reasoner_ids, weight, writing.owner)
        self._rows.append(_Row(text, is_twin))
        return logits[None]

    def _effects(self, slot: int, logits: Tensor, without: Tensor) -> list[Effect]:
        """What thoughts did to the predictions [T, vocab] that the last pass made of a text."""
        kl = kl_nats(logits, without)
        head = self.personal.model.get_output_embeddings()
        products = head(self.engine.entered(slot)[-len(logits) :])
        if head.bias is not None:
            products = products - head.bias
        pairs = zip(kl.tolist(), self._near_words(products.float()), strict=True)
        return [Effect(*pair) for pair in pairs]

    @cached_property
    def _near_words(self) -> NearWords:
        return NearWords(self.personal.tokenizer, self.engine.head_norms)

    def _next_waiting(self) -> Writing | None:
        """The next text, once there is room for all the slots that it takes."""
        while self.waiting and self.waiting[0].finish_reason is not None:
            self.waiting.popleft()
        if not self.waiting:
            return None
        free = self.slots - len(self._rows)
        return self.waiting.popleft() if _slots_of(self.waiting[0].sampling) <= free else None

    def _remove_finished(self) -> list[tuple[Writing, str]]:
        """Free the slots of texts that have ended; the last text takes the place of each."""
        left = []
        for number in reversed(range(len(self._rows))):
            text, is_twin = self._rows[number]
            if text.writing.finish_reason is not None:
                if not is_twin:
                    left.append((text.writing, ""))
                self.engine.leave(number)
                self._rows[number] = self._rows[-1]
                self._rows.pop()
        return left


def _slots_of(sampling: Sampling) -> int:
    """With effects, a second one reads the same tokens without thoughts."""
    return 2 if sampling.effects else 1
