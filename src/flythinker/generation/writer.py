"""`Writer`: many texts at once, joining and leaving as they come and end."""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from types import MappingProxyType

import torch

from flythinker.adapter import Adapter, Part
from flythinker.data.prompt import Prompt, end_of_turn_id
from flythinker.errors import FlyThinkerError
from flythinker.generation.drafts import NO_DRAFTS, REASONER_DRAFTS, Draft, DraftChoice, DraftPlan
from flythinker.generation.effects import Effect, ThoughtEffects
from flythinker.generation.one_by_one import OneByOne
from flythinker.generation.parallel import Mode
from flythinker.generation.runner import Pass, Runner
from flythinker.generation.sampling import Sampling
from flythinker.generation.scheduler import Scheduler
from flythinker.generation.sequence import Sequence
from flythinker.generation.slot_way import NoSlots
from flythinker.model_folder import PersonalModel


class Writer:
    """Continuous batching over one model: each step reads one token of every text in work.

    A new text joins at the next step, one prompt a step, while there is a free slot. What a text
    becomes does not depend on its company: it is what `generate` writes of it alone.

    A model that cannot read slots (see `slot_way`) is written with too, one text after the other in
    each step: slower, without drafts and without effects of thoughts.

    >>> from flythinker import Document, Example, Sampling, Writer, build_prompt, load
    >>> personal = load("smollm2-135m")  # or a trained folder
    >>> past = (Document("The tide was out when we came down to the sea."),)
    >>> asked = [Example("me", f"Write about {what}.", "", past) for what in ("rain", "snow")]
    >>> prompts = [build_prompt(example, personal.tokenizer, personal.prompt) for example in asked]
    >>> texts = Writer(personal, slots=2).write(prompts, Sampling(max_new_tokens=8))
    >>> len(texts)
    2

    Attributes:
        slower: why a step does not read all texts at the same time; empty where it does.
        scheduler: which texts are being written, and which wait.
        runner: the passes of the model.
        draft_choice: how the drafts of a step are chosen.
        drafted, accepted: tokens drafted so far, and those of them that proved right.
    """

    def __init__(
        self,
        personal: PersonalModel,
        slots: int = 8,
        prefix_bytes: int = 2**30,
        draft_tokens: int = 8,
        int8: Collection[Part] = (),
        parallel: Mode = "auto",
    ) -> None:
        """Take over `personal.model`, which cannot be used elsewhere then (see `Runner.take_over`).

        Args:
            personal: what writes.
            slots: texts at the same time; one with effects takes two.
            prefix_bytes: of memory for prompts that were read, so that the next one that begins as
                one of them (the same user's profile) costs only what differs.
            draft_tokens: the most that a step drafts, over all texts, in the way that `DraftChoice`
                finds the fastest; 0 is without drafts.
            int8: the parts that get 8-bit weights: faster, and not quite the same texts.
            parallel: whether the two passes of a step run at the same time, see `Parallel`.

        Raises:
            FlyThinkerError: int8 elsewhere than on the CPU, or of a model that cannot read slots.
        """
        self.personal = personal
        self.runner: Runner | OneByOne
        self.slower = ""
        try:
            self.runner = Runner.take_over(personal.model, slots, prefix_bytes, parallel, int8)
            self._effects = ThoughtEffects(
                personal.tokenizer, self.runner.generator, self.runner.fusion
            )
        except NoSlots as why:
            if int8:
                raise FlyThinkerError(f"{why}, and not in int8") from why
            self.slower = str(why)
            self.runner = OneByOne(personal.model)
        self.scheduler = Scheduler(slots, self.runner.move)
        self.draft_tokens = draft_tokens if self.runner.drafts else 0
        self.draft_choice = DraftChoice()
        self.drafted = self.accepted = 0
        self._eos = end_of_turn_id(personal.tokenizer)

    def submit(
        self,
        prompt: Prompt,
        sampling: Sampling,
        owner: str = "",
        adapter: Adapter | None = None,
    ) -> Sequence:
        """Queue a text; `step` writes it.

        Args:
            prompt: what it answers.
            sampling: how it is drawn.
            owner: whose it is. Prompts of different owners share nothing in the prefix cache.
            adapter: of the person who is written for, for this text alone. It is not loaded or
                changed here: give the same object again for the person's next text.

        Raises:
            FlyThinkerError: it asks for a λ or for effects of thoughts, of a model that has none;
                or for effects, with a single slot; or the adapter is of another model.
        """
        if sampling.fusion_weight is not None and not self.runner.thinks:
            raise FlyThinkerError("this model has no thoughts: leave out fusion_weight")
        if sampling.effects and not self.runner.thinks:
            raise FlyThinkerError("this model has no thoughts that could have effects")
        if sampling.effects and not self.runner.effects:
            raise FlyThinkerError(f"no effects of thoughts here: {self.slower}")
        if adapter is not None:
            self.runner.adapters.check(adapter)
        weight = sampling.fusion_weight
        weight = self.runner.fusion.weight if weight is None else weight
        sequence = Sequence(prompt, sampling, weight, owner, adapter=adapter)
        if sequence.slots_needed > self.scheduler.capacity:
            raise FlyThinkerError("effects of thoughts need a Writer of 2 slots or more")
        self.scheduler.waiting.append(sequence)
        return sequence

    @property
    def idle(self) -> bool:
        """Whether there is nothing to write."""
        return self.scheduler.idle

    @torch.inference_mode()
    def step(self) -> list[tuple[Sequence, str]]:
        """Write one token of every text, more where drafts prove right, and let one text in.

        Returns the texts that grew or ended and what was added; those that ended have left.
        """
        changed = [(sequence, "") for sequence in self.scheduler.free_finished()]
        if slots := self.scheduler.slots:
            begun, running, accepted = time.perf_counter(), self.scheduler.running, self.accepted
            draft = self._draft(slots)
            result = self.runner.decode(slots, draft)
            for sequence in running:
                tokens = self._sample(sequence, result, draft.tokens[sequence.slot])
                changed.append((sequence, self._accept(sequence, result, tokens)))
            written = len(running) + self.accepted - accepted
            self.draft_choice.note(len(slots), draft.plan, written, time.perf_counter() - begun)
        if (newcomer := self.scheduler.admit()) is not None:
            newcomer.start(self.personal.tokenizer, self._eos, self.runner.device)
            result = self.runner.prefill(newcomer)
            tokens = self._sample(newcomer, result, [])
            changed.append((newcomer, self._accept(newcomer, result, tokens)))
        self.scheduler.free_finished()
        return [(sequence, added) for sequence, added in changed if added or sequence.finish_reason]

    def abandon(self) -> None:
        """Cancel all texts in work after a step that failed; those that wait can be written."""
        self.scheduler.cancel_running()

    def write(self, prompts: Iterable[Prompt], sampling: Sampling) -> list[str]:
        """Write a response to each prompt, as many at a time as there are slots.

        Text i is drawn as `sampling.for_text(i)`, whatever is written beside it.
        """
        texts = dict(self.write_each(dict(enumerate(prompts)), sampling))
        return [texts[number] for number in sorted(texts)]

    def write_each(
        self,
        prompts: Mapping[int, Prompt],
        sampling: Sampling,
        adapters: Mapping[int, Adapter] = MappingProxyType({}),
    ) -> Iterator[tuple[int, str]]:
        """Write a response to each prompt, and yield it with its number as soon as it is over.

        Text i is drawn as `sampling.for_text(i)`, with `adapters[i]` where there is one. They are
        begun in their order; abandoning the iterator cancels those that are not over.
        """
        numbers = {
            self.submit(prompt, sampling.for_text(number), adapter=adapters.get(number)): number
            for number, prompt in prompts.items()
        }
        try:
            while numbers:
                for sequence, _ in self.step():
                    if sequence.finish_reason is not None and sequence in numbers:
                        yield numbers.pop(sequence), sequence.text.strip()
        finally:
            for sequence in numbers:
                sequence.cancel()

    def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[str]:
        """Write one text and yield it in pieces; abandoning the iterator cancels it."""
        sequence = self.submit(prompt, sampling)
        try:
            while sequence.finish_reason is None:
                yield from (added for one, added in self.step() if one is sequence and added)
        finally:
            sequence.cancel()

    def _draft(self, slots: list[Sequence]) -> Draft:
        """What the texts in the slots may go on with, from where that has paid best."""
        room = self.draft_tokens // len(slots)
        found = [each.lookup.draft(min(room, each.remaining - 1)) for each in slots if room]
        plans = [NO_DRAFTS]
        if any(found):
            plans.append(DraftPlan("lookup", room))
        if self.runner.thinks:
            plans += [DraftPlan("reasoner", n) for n in REASONER_DRAFTS if n <= room]
        plan = self.draft_choice.choose(len(slots), plans)
        if plan.source == "reasoner":
            assert isinstance(self.runner, Runner)
            return self.runner.draft(slots, plan)
        return Draft(plan, found if plan.source == "lookup" else [[] for _ in slots])

    def _sample(self, sequence: Sequence, result: Pass, drafted: list[int]) -> list[int]:
        """Draw what follows, as far as drafts prove right."""
        self.drafted += len(drafted)
        logits = result.logits[sequence.slot - result.first]
        return sequence.sampler.sample(logits, sequence.ids, drafted)

    def _accept(self, sequence: Sequence, result: Pass, tokens: list[int]) -> str:
        """Let a text go on with `tokens`, up to its end; returns what is added to it."""
        row, known = sequence.slot - result.first, len(sequence.ids)
        effects = self._effects_on(sequence, result) if sequence.sampling.effects else None
        thoughts = None if result.thoughts is None else result.thoughts[row]
        added = sequence.accept(tokens, result.logits[row], thoughts, effects)
        self.accepted += max(0, len(sequence.ids) - known - 1)
        return added

    def _effects_on(self, sequence: Sequence, result: Pass) -> list[Effect]:
        """What thoughts did to the predictions of a pass, in which the text has a shadow."""
        assert sequence.shadow_slot is not None
        row, shadow = sequence.slot - result.first, sequence.shadow_slot - result.first
        logits, without = result.logits[row], result.logits[shadow]
        if result.entering is None or result.gate is None:
            return self._effects(logits, without)
        centred = result.entering[row] - sequence.mean_thought
        self.runner.adapters.use([sequence.adapter])  # the projection may be the person's
        return self._effects(logits, without, centred, result.gate[row])
