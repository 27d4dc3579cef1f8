"""`OneByOne`: the passes of a model that cannot read slots, one text after the other."""

from typing import Any

import torch
from torch import Tensor

from flythinker.errors import FlyThinkerError
from flythinker.generation.adapted import RowAdapters
from flythinker.generation.cache.prefix import PrefixCache
from flythinker.generation.drafts import Draft
from flythinker.generation.runner import SCORED_TOKENS, Pass
from flythinker.generation.sequence import Sequence
from flythinker.model import FlyThinkerCache, FlyThinkerForCausalLM


class OneByOne:
    """What a `Runner` does, by the model's own forward, for every family that transformers knows.

    Each text has a cache of its own, of whatever its layers keep: nothing is padded and no text
    meets another. Without the speed of slots, of drafts and of prompts that were read before.

    Attributes:
        drafts, effects: nothing of the kind here, see `Runner`.
        prefixes: stays empty.
        adapters: whose changes a text has.
    """

    drafts = effects = False

    def __init__(self, model: FlyThinkerForCausalLM) -> None:
        """Write with `model`."""
        self.model = model
        self.fusion = model.fusion
        self.prefixes = PrefixCache(0)
        self.adapters = RowAdapters.of(model)
        self._caches: dict[int, FlyThinkerCache] = {}  # by slot
        self._dynamic = [
            each for each in model.modules() if "dynamic" in str(getattr(each, "rope_type", ""))
        ]

    @property
    def thinks(self) -> bool:
        """Whether there is a Reasoner."""
        return bool(self.model.config.fusion_weight)

    @property
    def device(self) -> torch.device:
        """Where tokens are read and drawn."""
        return self.model.device

    @torch.inference_mode()
    def prefill(self, sequence: Sequence) -> Pass:
        """Read the prompts of a sequence; the pass is of their last tokens.

        Raises:
            FlyThinkerError: the Reasoner has a prompt of its own, of which no thought may enter.
        """
        own: dict[str, Any] = {}
        if sequence.own_prompt and self.thinks:
            if not self.fusion.enters_response:
                raise FlyThinkerError(
                    'a Reasoner with a prompt of its own needs injection "output" or "global"'
                )
            own["reasoner_input_ids"] = self._ids(sequence.reasoner_ids)
        self._caches[sequence.slot] = FlyThinkerCache(self.model.config)
        if sequence.sampling.prompt_logprobs is None:
            return Pass(sequence.slot, self._read(sequence, sequence.prompt.prompt_ids, **own))
        return Pass(sequence.slot, self._score(sequence))

    @torch.inference_mode()
    def decode(self, slots: list[Sequence], draft: Draft) -> Pass:
        """Read the last token of each text in the slots 0 to n - 1."""
        return Pass(0, torch.cat([self._read(each, each.ids[-1:]) for each in slots]))

    def move(self, sequence: Sequence, source: int, target: int) -> None:
        """Move what is kept of a sequence to another slot."""
        self._caches[target] = self._caches.pop(source)

    def _score(self, sequence: Sequence) -> Tensor:
        """Logits [1, 1, vocab] of what follows the prompt, whose log-probabilities are told."""
        ids = sequence.prompt.prompt_ids
        for begin in range(0, len(ids), SCORED_TOKENS):
            part = ids[begin : begin + SCORED_TOKENS]
            logits = self._read(sequence, part, keep=len(part))
            sequence.score_prompt(begin, logits[0])
        return logits[:, -1:]

    def _read(self, sequence: Sequence, ids: list[int], keep: int = 1, **own: Tensor) -> Tensor:
        """Logits [1, keep, vocab] of what follows the last of `ids`."""
        self.adapters.use([sequence.adapter])
        for rotary in self._dynamic:
            _forget_length(rotary)
        return self.model(
            self._ids(ids),
            cache=self._caches[sequence.slot],
            fusion_weight=sequence.weight if self.thinks else 0,
            prompt_length=torch.tensor([len(sequence.prompt.prompt_ids)], device=self.device),
            logits_to_keep=keep,
            **own,
        ).logits[:, -keep:]

    def _ids(self, ids: list[int]) -> Tensor:
        return torch.tensor([ids], device=self.device)


def _forget_length(rotary: Any) -> None:
    """Put dynamic rotary positions back: they keep the frequencies of the longest text so far.

    transformers makes those of the present text's length from there.
    """
    for name in [*vars(rotary), *rotary._buffers]:
        if name.endswith("max_seq_len_cached"):
            setattr(rotary, name, rotary.original_max_seq_len)
        elif name.endswith("original_inv_freq"):
            frequencies = getattr(rotary, name).clone()
            rotary.register_buffer(name.replace("original_", ""), frequencies, persistent=False)
