"""`BatchWriter`: texts in batches, for methods that a `Writer` cannot write with."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from flythinker.data.prompt import Prompt, end_of_turn_id
from flythinker.generation.sampler import Sampler
from flythinker.generation.sampling import Sampling
from flythinker.model_folder import PersonalModel

Generate = Callable[[PersonalModel, Sequence[Prompt], Sequence[Sampling]], list[str]]
"""Writes a response to each prompt, in one batch; the samplings differ in their seeds only."""


@dataclass(frozen=True)
class BatchWriter:
    """Writes in batches, the same texts by the same calls as a `Writer`, without its speed.

    Attributes:
        personal: what writes.
        generate: writes one batch with it.
        slots: texts in a batch.
    """

    personal: PersonalModel
    generate: Generate
    slots: int

    def write_each(
        self, prompts: Mapping[int, Prompt], sampling: Sampling
    ) -> Iterator[tuple[int, str]]:
        """As `Writer.write_each`."""
        for batch in batches(prompts, self.slots):
            samplings = [sampling.for_text(number) for number in batch]
            texts = self.generate(self.personal, list(batch.values()), samplings)
            yield from zip(batch, texts, strict=True)

    def write(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[str]:
        """As `Writer.write`."""
        return [text for _, text in self.write_each(dict(enumerate(prompts)), sampling)]


def batches(prompts: Mapping[int, Prompt], size: int) -> Iterator[dict[int, Prompt]]:
    """The prompts in their order, `size` at a time."""
    numbers = list(prompts)
    for start in range(0, len(numbers), size):
        yield {number: prompts[number] for number in numbers[start : start + size]}


def generate_texts(
    personal: PersonalModel,
    prompts: Sequence[Prompt],
    samplings: Sequence[Sampling],
    **arguments: Any,
) -> list[str]:
    """Write a response to each prompt by `model.generate`, to which `arguments` go too."""
    batch = prompt_batch(personal, prompts)
    if samplings[0].fusion_weight is not None:
        batch["fusion_weight"] = samplings[0].fusion_weight
    lengths = [len(prompt.prompt_ids) for prompt in prompts]
    arguments |= draw_arguments(personal, samplings, lengths)
    written = personal.model.generate(**batch, **arguments)
    return decode_texts(personal, written[:, batch["input_ids"].shape[1] :])


def prompt_batch(personal: PersonalModel, prompts: Sequence[Prompt]) -> dict[str, Any]:
    """What the model reads of prompts, the Reasoner's own where they have one; left-padded."""
    batch = padded(personal, [prompt.prompt_ids for prompt in prompts])
    own = [prompt.reasoner_ids for prompt in prompts if prompt.reasoner_ids is not None]
    if own:
        batch |= {f"reasoner_{name}": ids for name, ids in padded(personal, own).items()}
    return batch


def padded(personal: PersonalModel, ids: list[list[int]]) -> dict[str, Any]:
    """`input_ids` and `attention_mask`, padded on the left."""
    padded = personal.tokenizer.pad({"input_ids": ids}, padding_side="left", return_tensors="pt")
    return dict(padded.to(personal.model.device))


def draw_arguments(
    personal: PersonalModel, samplings: Sequence[Sampling], lengths: Sequence[int]
) -> dict[str, Any]:
    """The arguments of `generate` by which each text is drawn as a `Writer` draws it.

    Args:
        personal: what writes.
        samplings: of each text; they differ in their seeds only.
        lengths: of each prompt, in tokens that `generate` gets; of embeddings it gets none.
    """
    eos = end_of_turn_id(personal.tokenizer)
    samplers = [
        Sampler(sampling, length, eos, personal.model.device)
        for sampling, length in zip(samplings, lengths, strict=True)
    ]
    return {
        "max_new_tokens": samplings[0].max_new_tokens,
        "logits_processor": LogitsProcessorList([_DrawEach(samplers, lengths)]),
        # all this is the samplers', whatever the model's own files say
        **{"do_sample": False, "temperature": None, "top_p": None, "top_k": None},
        "repetition_penalty": 1.0,
        "eos_token_id": eos,
        "pad_token_id": personal.tokenizer.pad_token_id,
    }


def decode_texts(personal: PersonalModel, ids: Tensor) -> list[str]:
    """The texts of token ids [texts, tokens]."""
    texts = personal.tokenizer.batch_decode(ids, skip_special_tokens=True)
    return [text.strip() for text in texts]


class _DrawEach(LogitsProcessor):
    """Draws the next token of each text from its own random stream, and leaves no other."""

    def __init__(self, samplers: Sequence[Sampler], lengths: Sequence[int]) -> None:
        self.samplers = samplers
        self.starts = [max(lengths) - length for length in lengths]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        drawn = [
            sampler.sample(row[None], ids[start:].tolist(), [])
            for sampler, row, ids, start in zip(
                self.samplers, scores, input_ids, self.starts, strict=True
            )
        ]
        tokens = torch.tensor(drawn, device=scores.device)
        return torch.full_like(scores, -torch.inf).scatter(1, tokens, 0.0)
