"""Examples → padded batches of token ids."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NotRequired, TypedDict

import torch
from transformers import PreTrainedTokenizerBase

from flythinker.data.example import Example
from flythinker.data.prompt import Prompt, PromptConfig, build_prompts

IGNORED = -100  # label of a position that is not learned: prompt and padding


class Row(TypedDict):
    """One encoded example; `length` counts all tokens that are read, `prompt_length` the prompt's.

    `reasoner_ids` is the Reasoner's own prompt and the response, where it has a prompt of its own.
    """

    input_ids: list[int]
    labels: list[int]
    prompt_length: int
    length: int
    reasoner_ids: NotRequired[list[int]]


def encode(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, config: PromptConfig
) -> list[Row]:
    """Encode prompt + response, labels on the response and its end only."""
    prompts = build_prompts(examples, tokenizer, config)
    return [encode_prompt(prompt) for prompt in prompts]


def encode_prompt(prompt: Prompt) -> Row:
    """One row: the prompt and the response, labels on the response only."""
    input_ids = prompt.prompt_ids + prompt.response_ids
    n = len(prompt.prompt_ids)
    row = Row(
        input_ids=input_ids,
        labels=[IGNORED] * n + prompt.response_ids,
        prompt_length=n,
        length=len(input_ids),
    )
    if prompt.reasoner_ids is not None:
        row["reasoner_ids"] = prompt.reasoner_ids + prompt.response_ids
        row["length"] += len(row["reasoner_ids"])
    return row


@dataclass(frozen=True)
class Collator:
    """Pad rows to the longest of the batch: on the right to train, on the left to generate."""

    pad_token_id: int
    padding_side: Literal["right", "left"] = "right"

    def __call__(self, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        """Return `input_ids`, `attention_mask`, `labels` `[B, S]` and `prompt_length` `[B]`, int64.

        `prompt_length` counts real prompt tokens, whatever the padding. Where rows have a prompt
        for the Reasoner, `reasoner_input_ids` and `reasoner_attention_mask` `[B, S']` as well.
        """
        batch = {
            **self._tokens("", [row["input_ids"] for row in rows]),
            "labels": self._pad([row["labels"] for row in rows], IGNORED),
            "prompt_length": torch.tensor([row["prompt_length"] for row in rows]),
        }
        if "reasoner_ids" in rows[0]:
            batch |= self._tokens("reasoner_", [row["reasoner_ids"] for row in rows])
        return batch

    def _tokens(self, prefix: str, sequences: list[list[int]]) -> dict[str, torch.Tensor]:
        ones = [[1] * len(sequence) for sequence in sequences]
        return {
            f"{prefix}input_ids": self._pad(sequences, self.pad_token_id),
            f"{prefix}attention_mask": self._pad(ones, 0),
        }

    def _pad(self, sequences: list[list[int]], value: int) -> torch.Tensor:
        return torch.nn.utils.rnn.pad_sequence(
            [torch.tensor(sequence) for sequence in sequences],
            batch_first=True,
            padding_value=value,
            padding_side=self.padding_side,
        )


def batches_by_length(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Indices of rows in batches of `size` and like length, the longest first.

    So a batch that is too large for the memory fails at once.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    return [order[start : start + size] for start in range(0, len(order), size)]


def predicting_columns(labels: torch.Tensor) -> torch.Tensor:
    """Columns of a batch whose logits predict a label of some row, int64 `[n]`.

    `labels` are `[B, S]`; the model need not compute logits anywhere else.
    """
    return (labels[:, 1:] != IGNORED).any(dim=0).nonzero().flatten()
