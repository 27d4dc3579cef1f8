"""The next token of one text: transformers' logits processors and a random stream of its own."""

import torch
from torch import Tensor
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
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
        ends = sampling.ends(eos)
        self.processors = LogitsProcessorList()
        if sampling.logit_bias:
            biases = {(token,): bias for token, bias in sampling.logit_bias}
            self.processors.append(SequenceBiasLogitsProcessor(biases))
        if sampling.repetition_penalty != 1:
            self.processors.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
        if sampling.presence_penalty or sampling.frequency_penalty:
            self.processors.append(CountPenalties(sampling, prompt_length))
        if sampling.min_new_tokens and ends:
            self.processors.append(
                MinNewTokensLengthLogitsProcessor(
                    prompt_length, sampling.min_new_tokens, ends, device=str(device)
                )
            )
        if not self.greedy:
            self.processors += _warpers(sampling)

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


class CountPenalties(LogitsProcessor):
    """OpenAI's presence and frequency penalties, by what was written; the prompt does not count."""

    def __init__(self, sampling: Sampling, prompt_length: int) -> None:
        self.presence, self.frequency = sampling.presence_penalty, sampling.frequency_penalty
        self.prompt_length = prompt_length

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Lower the `scores` [texts, vocab] of what follows `input_ids` [texts, tokens]."""
        written = input_ids[:, self.prompt_length :]
        ones = torch.ones_like(written, dtype=scores.dtype)
        counts = torch.zeros_like(scores).scatter_add(1, written, ones)
        return scores - self.frequency * counts - self.presence * (counts > 0)


def _warpers(sampling: Sampling) -> list[LogitsProcessor]:
    """What narrows the choice where a token is drawn by chance, in the order of `generate`."""
    warpers: list[LogitsProcessor] = []
    if sampling.temperature != 1:
        warpers.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_k:
        warpers.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        warpers.append(TopPLogitsWarper(sampling.top_p))
    if sampling.min_p:
        warpers.append(MinPLogitsWarper(sampling.min_p))
    return warpers
