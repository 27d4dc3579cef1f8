"""Drafts: tokens that may come next, to be read together and kept as far as they prove right.

A thought depends on tokens only, so one pass over drafted tokens gives the very thoughts and logits
that writing them one by one would. A token is then drawn from each position's logits in turn, as it
would be without drafts, and the draft is kept as long as the drawn tokens are the drafted ones: the
text is the same with drafts and without, greedy or sampled.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor

NGRAM = 2
REASONER_DRAFTS = (1, 3)  # each more costs a whole pass of the Reasoner and is right less often
_TRIED = 4  # steps by each plan before they are compared
_AGAIN = 64  # in every so many steps, one goes by the plan that was not used for longest
_MEMORY = 0.95  # what a step still counts at the next: texts change as they grow


class DraftPlan(NamedTuple):
    """Where drafts come from and how many there are; from the prompt, `tokens` is the most."""

    source: Literal["none", "lookup", "reasoner"]
    tokens: int


NO_DRAFTS = DraftPlan("none", 0)


class Draft(NamedTuple):
    """The drafts of one step.

    `tokens` are those of each slot. `thoughts` [slots, plan.tokens, d_R] are those about the last
    token of each text and about all drafted ones but the last, where the Reasoner has drafted and
    so has read them; `None` elsewhere.
    """

    plan: DraftPlan
    tokens: list[list[int]]
    thoughts: Tensor | None = None


class PromptLookup:
    """Drafts what followed the last time the text's last tokens stood in prompt or text.

    Saxena (2023), "Prompt Lookup Decoding". People repeat themselves, and a personal prompt holds
    what they wrote before.
    """

    def __init__(self, ids: list[int]) -> None:
        """`ids` are prompt and text; they may grow."""
        self.ids = ids
        self._after: dict[tuple[int, ...], int] = {}
        self._known = NGRAM  # what follows earlier tokens is in `_after`

    def draft(self, longest: int) -> list[int]:
        """Up to `longest` tokens that may come next; often none."""
        for end in range(self._known, len(self.ids)):
            self._after[tuple(self.ids[end - NGRAM : end])] = end
        self._known = max(self._known, len(self.ids))
        begin = self._after.get(tuple(self.ids[-NGRAM:]))
        return [] if begin is None else self.ids[begin : begin + longest]


@dataclass
class _Record:
    steps: int = 0
    last_step: int = 0
    tokens: float = 0.0
    seconds: float = 0.0


class DraftChoice:
    """Chooses the plan that has given the most tokens a second, by the number of slots in use.

    How many drafts prove right depends on the texts and on the Reasoner's training; what they cost,
    on the machine and the batch. Tokens a second counts both.
    """

    def __init__(self) -> None:
        self._records: dict[tuple[int, DraftPlan], _Record] = defaultdict(_Record)
        self._steps: dict[int, int] = defaultdict(int)

    def choose(self, slots: int, plans: Sequence[DraftPlan]) -> DraftPlan:
        """One of the `plans` that are open to the next step."""
        records = {plan: self._records[slots, plan] for plan in plans}
        untried = [plan for plan, record in records.items() if record.steps < _TRIED]
        if untried:
            return untried[0]
        if self._steps[slots] % _AGAIN == 0:
            return min(plans, key=lambda plan: records[plan].last_step)
        return max(plans, key=lambda plan: records[plan].tokens / records[plan].seconds)

    def note(self, slots: int, plan: DraftPlan, tokens: int, seconds: float) -> None:
        """A step gave so many tokens over all texts, and took so long."""
        self._steps[slots] += 1
        record = self._records[slots, plan]
        record.steps += 1
        record.last_step = self._steps[slots]
        record.tokens = _MEMORY * record.tokens + tokens
        record.seconds = _MEMORY * record.seconds + seconds
