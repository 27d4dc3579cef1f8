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

    def draw(self, logits: Tensor, ids: list[int]) -> int:
        """The token after `ids` (prompt included), given its logits [vocab]."""
        scores = logits[None].float()
        if self.processors:
            scores = self.processors(torch.tensor([ids], device=logits.device), scores)
        if self.greedy:
            return int(scores.argmax())
        return int(torch.multinomial(scores.softmax(-1), 1, generator=self.generator))
