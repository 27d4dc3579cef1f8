"""A Runner and its slots, for texts whose tokens are given and not sampled."""

import torch
from torch import Tensor

from flythinker.adapter import Adapter
from flythinker.data.prompt import Prompt
from flythinker.generation.drafts import NO_DRAFTS, Draft, DraftPlan
from flythinker.generation.runner import Runner
from flythinker.generation.sampling import Sampling
from flythinker.generation.scheduler import Scheduler
from flythinker.generation.sequence import Sequence

NOT_KNOWN_YET = -1  # between two steps a text has a last token that was not read


class GivenTexts:
    """Prefill and decode passes of a model, which it takes over."""

    def __init__(self, model, slots: int, **settings) -> None:
        self.runner = Runner.take_over(model, slots, **settings)
        self.scheduler = Scheduler(slots, self.runner.move)

    def join(
        self,
        prompt: list[int],
        own: list[int] | None = None,
        owner: str = "",
        adapter: Adapter | None = None,
    ) -> Tensor:
        """Read the prompt of a new text; logits [vocab] of what follows."""
        weight, asked = self.runner.fusion.weight, Prompt(prompt, [], (), own)
        self.scheduler.waiting.append(Sequence(asked, Sampling(), weight, owner, adapter=adapter))
        text = self.scheduler.admit()
        result = self.runner.prefill(text)
        self._accept(text, [], result.thoughts, 0)
        return result.logits[0, 0]

    def read(self, ids: Tensor, keep: list[int] | None = None) -> Tensor:
        """Read tokens [n, T] of all texts, of which all or the first `keep` stay.

        Returns logits [n, T, vocab].
        """
        for text, row in zip(self.scheduler.slots, ids.tolist(), strict=True):
            text.ids[-1] = row[0]
        return self._decode(Draft(NO_DRAFTS, ids[:, 1:].tolist()), keep)

    def draft(self, ids: Tensor, count: int, keep: list[int]) -> tuple[Tensor, Tensor]:
        """Read tokens [n, 1] and `count` that the Reasoner drafts after them.

        Returns all tokens [n, 1 + count] and their logits.
        """
        for text, row in zip(self.scheduler.slots, ids.tolist(), strict=True):
            text.ids[-1] = row[0]
        draft = self.runner.draft(self.scheduler.slots, DraftPlan("reasoner", count))
        return torch.cat([ids, torch.tensor(draft.tokens)], dim=1), self._decode(draft, keep)

    def leave(self, slot: int) -> None:
        """A text is over."""
        self.scheduler.slots[slot].cancel()
        self.scheduler.free_finished()

    def _decode(self, draft: Draft, keep: list[int] | None) -> Tensor:
        result = self.runner.decode(self.scheduler.slots, draft)
        for row, text in enumerate(self.scheduler.slots):
            kept = result.logits.shape[1] if keep is None else keep[row]
            self._accept(text, draft.tokens[row][: kept - 1], result.thoughts, row)
        return result.logits

    @staticmethod
    def _accept(text: Sequence, tokens: list[int], thoughts: Tensor | None, row: int) -> None:
        text.ids += [*tokens, NOT_KNOWN_YET]
        if thoughts is not None:
            text.last_thought = thoughts[row, len(tokens)]
