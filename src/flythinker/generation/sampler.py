"""The next token of one text: transformers' logits processors and a random stream of its own."""

import torch
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from flythinker.generation.sampling import Sampling


class Sampler:
    """Draws tokens as `generate` does, in its order of processors, for a single text.

    With the same seed it draws the tokens that `torch.manual_seed(seed)` and `generate` of this
    text alone would.
    """

    def __init__(
        self, sampling: Sampling, prompt_length: int, eos: int, device: torch.device
    ) -> None:
        self.greedy = sampling.temperature == 0
        self.generator = torch.Generator(device=device).manual_seed(sampling.seed)
        self.processors = LogitsProcessorList()
        if sampling.repetition_penalty != 1:
            self.processors.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
        if sampling.min_new_tokens:
            self.processors.append(
                MinNewTokensLengthLogitsProcessor(
                    prompt_length, sampling.min_new_tokens, eos, device=str(device)
                )
            )
        if not self.greedy:
            if sampling.temperature != 1:
                self.processors.append(TemperatureLogitsWarper(sampling.temperature))
            if sampling.top_k:
                self.processors.append(TopKLogitsWarper(sampling.top_k))
            if sampling.top_p < 1:
                self.processors.append(TopPLogitsWarper(sampling.top_p))

    def sample(self, logits: Tensor, ids: list[int], drafted: list[int]) -> list[int]:
        """Draw the next token after `ids` (prompt included), and one more for each right draft.

        Row i of `logits` [1 + drafts or more, vocab] follows the first i drafted tokens.
        """
        tokens: list[int] = []
        for row, draft in zip(logits, [*drafted, None], strict=False):
            tokens.append(self._draw(row, ids, tokens))
            if tokens[-1] != draft:
                break
        return tokens

    def _draw(self, logits: Tensor, ids: list[int], tokens: list[int]) -> int:
        scores = logits[None].float()
        if self.processors:
            before = torch.tensor([ids + tokens], device=logits.device)
            scores = self.processors(before, scores)
        if self.greedy:
            return int(scores.argmax())
        return int(torch.multinomial(scores.softmax(-1), 1, generator=self.generator))
