"""`Runner`: passes of both parts over the slots of their caches."""

from collections.abc import Collection
from functools import cached_property
from typing import Any, NamedTuple, get_args

import torch
from torch import Tensor, nn

from flythinker.adapter import Adapter, Part
from flythinker.errors import FlyThinkerError
from flythinker.generation.adapted import RowAdapters, bases_of
from flythinker.generation.cache.prefix import PrefixCache
from flythinker.generation.cached_part import CachedGenerator, CachedPart
from flythinker.generation.cpu.int8 import int8_linear
from flythinker.generation.cpu.packed import packed
from flythinker.generation.drafts import Draft, DraftPlan
from flythinker.generation.parallel import Mode, Parallel
from flythinker.generation.sequence import Sequence
from flythinker.generation.slot_way import slot_way
from flythinker.model import FlyThinkerForCausalLM
from flythinker.model.fusion import Fusion, shift

SCORED_TOKENS = 256
"""Tokens of a prompt whose logits are in memory at a time, where its log-probabilities are told."""


class Pass(NamedTuple):
    """What a pass over the slots `first` to `first` + n - 1 gives, for the T tokens that matter.

    Attributes:
        logits: [n, T, vocab], of what follows each token.
        thoughts: [n, T, d_R], about each token; `None` without a Reasoner.
        entering: [n, T, d_R], the thoughts that were there to be added to each token; `None` where
            no thought could enter.
        gate: bool [n, T], the tokens that they were added to.
    """

    first: int
    logits: Tensor
    thoughts: Tensor | None = None
    entering: Tensor | None = None
    gate: Tensor | None = None


class Runner:
    """A FlyThinker model and the caches of what it is writing.

    It keeps nothing of a sequence but keys and values in slots: each pass is told all it needs by
    the sequences, and leaves them as they are. What was read of tokens that a sequence does not
    accept is overwritten.

    Attributes:
        drafts, effects: whether it reads drafts, and texts a second time without thoughts.
        reasoner: `None` at λ = 0.
        parallel: how the two passes of a step are run.
        prefixes: prompts read before.
        adapters: whose changes which row has.
    """

    drafts = effects = True

    def __init__(
        self,
        generator: CachedGenerator,
        reasoner: CachedPart | None,
        fusion: Fusion,
        prefixes: PrefixCache,
        parallel: Parallel,
        adapters: RowAdapters,
    ) -> None:
        self.generator = generator
        self.reasoner = reasoner
        self.fusion = fusion
        self.prefixes = prefixes
        self.parallel = parallel
        self.adapters = adapters

    @classmethod
    def take_over(
        cls,
        model: FlyThinkerForCausalLM,
        slots: int,
        prefix_bytes: int = 0,
        parallel: Mode = "auto",
        int8: Collection[Part] = (),
    ) -> "Runner":
        """Make a runner out of a model, which is used up: its weights are not copied.

        The model's own passes raise `FlyThinkerError` from now on.

        Args:
            model: with or without a Reasoner (λ = 0).
            slots: texts at a time.
            prefix_bytes: of memory for prompts read before.
            int8: the parts whose linear layers get 8-bit weights, see `int8_linear`.

        Raises:
            NoSlots: a part cannot read slots, see `slot_way`. The model is not used up then.
            FlyThinkerError: int8 elsewhere than on the CPU.
        """
        linear = {part: int8_linear if part in int8 else packed for part in get_args(Part)}
        reasoner = model.reasoner if model.config.fusion_weight else None
        bases = bases_of(model)  # of weights that can still be read
        # both are known to work before either is used up
        ways = [slot_way(part) for part in (model.generator, reasoner) if part is not None]
        if reasoner is not None:
            reasoner = CachedPart(reasoner, slots, linear["reasoner"], ways[1])
        generator = CachedGenerator(model.generator, slots, linear["generator"], ways[0])
        if isinstance(model.projection, nn.Linear):
            model.projection = packed(model.projection)
        adapters = RowAdapters.over(bases, generator, reasoner, model.projection)
        for name in ("forward", "generate", "save_pretrained"):
            setattr(model, name, _taken_over)
        together = Parallel(parallel if reasoner is not None else "off", generator.layers)
        prefixes = PrefixCache(prefix_bytes)
        return cls(generator, reasoner, model.fusion, prefixes, together, adapters)

    @property
    def device(self) -> torch.device:
        """Where tokens are read and drawn."""
        return self.generator.device

    @property
    def thinks(self) -> bool:
        """Whether there is a Reasoner."""
        return self.reasoner is not None

    @torch.inference_mode()
    def prefill(self, sequence: Sequence) -> Pass:
        """Read the prompts of a sequence in its slots; the pass is of their last tokens.

        Sets its `mean_thought` and, if asked for, `prompt_logprobs`. What was read before for
        another owner, or with another adapter, is not used.

        Raises:
            FlyThinkerError: the Reasoner has a prompt of its own, of which no thought may enter.
        """
        if sequence.own_prompt and self.thinks and not self.fusion.enters_response:
            raise FlyThinkerError(
                'a Reasoner with a prompt of its own needs injection "output" or "global"'
            )
        self.adapters.use([sequence.adapter])
        result = self._prefill(sequence, sequence.slot)
        if sequence.shadow_slot is None:
            return result
        shadow = self._prefill(sequence, sequence.shadow_slot)
        return result._replace(logits=torch.cat([result.logits, shadow.logits]))

    @torch.inference_mode()
    def decode(self, slots: list[Sequence], draft: Draft) -> Pass:
        """Read the last token of each text in the slots 0 to n - 1, and the drafts after it.

        All that a token needs of the Reasoner is the thought about the token before, which the step
        before has made. So the two parts of a step do not wait for each other, unless there are
        drafts that the Reasoner has not read.
        """
        self.adapters.use([sequence.adapter for sequence in slots])
        longest = max(map(len, draft.tokens))
        new = [[s.ids[-1], *tokens] for s, tokens in zip(slots, draft.tokens, strict=True)]
        # filled up with tokens that nobody accepts
        ids = self._ids([row + row[:1] * (1 + longest - len(row)) for row in new])
        columns = self.generator.place(0, [s.generator_read for s in slots], ids)
        if self.reasoner is None:
            return Pass(0, self.generator.logits(self.generator.embed(ids), columns))
        before = torch.stack([sequence.last_thought for sequence in slots])[:, None]
        known = before if draft.thoughts is None else torch.cat([before, draft.thoughts], dim=1)
        read = known.shape[1] - 1  # drafts that the Reasoner has read
        starts = [sequence.reasoner_read + read for sequence in slots]
        if read == longest:
            entering = known
            embeds, gate = self._enter(slots, 0, ids, columns, entering)
            thoughts, logits = self.parallel(
                lambda: self._think(0, starts, ids[:, read:]),
                lambda: self.generator.logits(embeds, columns),
                ids.numel(),
            )
            thoughts = torch.cat([known[:, 1:], thoughts], dim=1)
        else:
            thoughts = self._think(0, starts, ids)
            entering = shift(thoughts, before)
            embeds, gate = self._enter(slots, 0, ids, columns, entering)
            logits = self.generator.logits(embeds, columns)
        return Pass(0, logits, thoughts, entering, gate)

    @torch.inference_mode()
    def draft(self, slots: list[Sequence], plan: DraftPlan) -> Draft:
        """What the Reasoner itself would write after the last tokens, greedily by `draft_logits`.

        The Reasoner has then read the last tokens and all drafts but the last.
        """
        self.adapters.use([sequence.adapter for sequence in slots])
        starts = [sequence.reasoner_read for sequence in slots]
        ids = self._ids([[sequence.ids[-1]] for sequence in slots])
        thoughts, drafted = [], []
        for read in range(plan.tokens):
            hidden = self._reason(0, [start + read for start in starts], ids)
            thoughts.append(self.fusion.normalize(hidden.to(self.generator.device)))
            ids = self._draft_head(hidden).argmax(dim=-1)
            drafted.append(ids)
        tokens = torch.cat(drafted, dim=1).tolist()
        # a shadow reads what its sequence does
        return Draft(plan, [tokens[s.slot] for s in slots], torch.cat(thoughts, dim=1))

    @torch.inference_mode()
    def move(self, sequence: Sequence, source: int, target: int) -> None:
        """Move what the caches hold of a sequence to another slot."""
        self.generator.cache.move(source, target, sequence.generator_read)
        if self.reasoner is not None:
            self.reasoner.cache.move(source, target, sequence.reasoner_read)

    def _prefill(self, sequence: Sequence, slot: int) -> Pass:
        ids, kind = sequence.prompt.prompt_ids, self._kind(sequence, slot)
        scored = sequence.sampling.prompt_logprobs is not None and slot == sequence.slot
        known = 0 if scored else self.generator.recall(self.prefixes, kind, ids, slot)[0]
        thoughts = entering = None
        if self.reasoner is not None:
            thoughts = self._think_prompt(self.reasoner, sequence, slot)
            sequence.mean_thought = thoughts.mean(0)
            if not sequence.own_prompt:
                entering = shift(thoughts[None], None)
            thoughts = thoughts[None, -1:].clone()  # a view would keep all of them in memory
        step = SCORED_TOKENS if scored else len(ids)
        for begin in range(known, len(ids), step):
            unread = self._ids([ids[begin : begin + step]])
            columns = self.generator.place(slot, [begin], unread)
            some = None if entering is None else entering[:, begin : begin + step]
            embeds, gate = self._enter([sequence], slot, unread, columns, some)
            logits = self.generator.logits(embeds, columns, keep=unread.shape[1] if scored else 1)
            if scored:
                sequence.score_prompt(begin, logits[0])
        self.generator.remember(self.prefixes, kind, ids, slot)
        if entering is None or gate is None:
            return Pass(slot, logits[:, -1:], thoughts)
        return Pass(slot, logits[:, -1:], thoughts, entering[:, -1:], gate[:, -1:])

    def _think_prompt(self, reasoner: CachedPart, sequence: Sequence, slot: int) -> Tensor:
        """The thoughts [tokens, d_R] about the prompt that the Reasoner reads."""
        ids = sequence.reasoner_ids
        kind = f"{sequence.owner}: reasoner{_read_with(sequence.adapter, 'reasoner')}"
        known, thoughts = reasoner.recall(self.prefixes, kind, ids, slot)
        new = self._think(slot, [known], self._ids([ids[known:]]))[0]
        thoughts = new if thoughts is None else torch.cat([thoughts, new])
        reasoner.remember(self.prefixes, kind, ids, slot, thoughts)
        return thoughts

    def _kind(self, sequence: Sequence, slot: int) -> str:
        """What a prompt read by the Generator depends on beside its tokens."""
        kind = f"{sequence.owner}: generator{_read_with(sequence.adapter, 'generator')}"
        weight = sequence.weight_in(slot)
        if weight == 0 or not self.fusion.enters_prompt(sequence.own_prompt):
            return f"{kind} without thoughts"
        return f"{kind}, λ = {weight}{_read_with(sequence.adapter, 'reasoner')}"

    def _ids(self, rows: list[list[int]]) -> Tensor:
        return torch.tensor(rows, device=self.generator.device)

    def _enter(
        self,
        sequences: list[Sequence],
        first: int,
        ids: Tensor,
        columns: Tensor,
        entering: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        """What the Generator reads [n, T, d_G] of tokens in the slots from `first` on.

        Returns with it where of the thoughts `entering` [n, T, d_R] have been added, bool [n, T].
        """
        embeds = self.generator.embed(ids)
        if entering is None:
            return embeds, None
        ends = torch.tensor([len(s.prompt.prompt_ids) for s in sequences], device=ids.device)
        own = [s.own_prompt for s in sequences]
        some = torch.tensor(own, device=ids.device) if any(own) else False
        gate = self.fusion.gate(columns, None, ends, some)
        weights = [[[s.weight_in(slot)]] for slot, s in enumerate(sequences, start=first)]
        weight = torch.tensor(weights, device=ids.device)
        return self.fusion.add(embeds, entering, gate, weight), gate

    def _think(self, first: int, starts: list[int], ids: Tensor) -> Tensor:
        """The thoughts [n, T, d_R] about tokens in the slots from `first` on."""
        return self.fusion.normalize(self._reason(first, starts, ids).to(self.generator.device))

    def _reason(self, first: int, starts: list[int], ids: Tensor) -> Tensor:
        """The Reasoner's last hidden states [n, T, d_R] at tokens [n, T], on its own device."""
        assert self.reasoner is not None
        ids = ids.to(self.reasoner.device)
        columns = self.reasoner.place(first, starts, ids)
        return self.reasoner.hidden(self.reasoner.embed(ids), columns)

    @cached_property
    def _draft_head(self) -> nn.Module:
        """`draft_logits` of the model; packed, where that is faster, at its first use."""
        assert self.reasoner is not None
        weight = self.reasoner.table.weight
        head = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
        head.weight = weight
        return packed(head)


def _read_with(adapter: Adapter | None, part: Part) -> str:
    """Which adapter `part` reads with, in the kind of what it has read."""
    if adapter is None or adapter.about.part != part:
        return ""
    return f", adapter {adapter.version}"


def _taken_over(*args: Any, **kwargs: Any) -> Any:
    raise FlyThinkerError("a Runner or Writer has taken this model over: load it once more")
