"""Examples → padded batches of token ids."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

import torch
from rich.progress import track
from transformers import PreTrainedTokenizerBase

from flythinker.data.example import Example
from flythinker.data.prompt import PromptConfig, build_prompt

IGNORED = -100  # label of a position that is not learned: prompt and padding


class Row(TypedDict):
    """One encoded example; `length` counts all its tokens, `prompt_length` the prompt's."""

    input_ids: list[int]
    labels: list[int]
    prompt_length: int
    length: int


def encode(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, config: PromptConfig
) -> list[Row]:
    """Encode prompt + response, labels on the response and its end only.

    Shows a progress bar when there are more than a hundred examples.
    """
    rows: list[Row] = []
    for example in track(
        examples, description="encoding", disable=len(examples) <= 100, transient=True
    ):
        prompt = build_prompt(example, tokenizer, config)
        input_ids = prompt.prompt_ids + prompt.response_ids
        n = len(prompt.prompt_ids)
        labels = [IGNORED] * n + prompt.response_ids
        rows.append(Row(input_ids=input_ids, labels=labels, prompt_length=n, length=len(labels)))
    return rows


@dataclass(frozen=True)
class Collator:
    """Pad rows to the longest of the batch: on the right to train, on the left to generate."""

    pad_token_id: int
    padding_side: Literal["right", "left"] = "right"

    def __call__(self, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        """Return `input_ids`, `attention_mask`, `labels` `[B, S]` and `prompt_length` `[B]`, int64.

        `prompt_length` counts real prompt tokens, whatever the padding.
        """
        return {
            "input_ids": self._pad([row["input_ids"] for row in rows], self.pad_token_id),
            "attention_mask": self._pad([[1] * len(row["input_ids"]) for row in rows], 0),
            "labels": self._pad([row["labels"] for row in rows], IGNORED),
            "prompt_length": torch.tensor([row["prompt_length"] for row in rows]),
        }

    def _pad(self, sequences: list[list[int]], value: int) -> torch.Tensor:
        return torch.nn.utils.rnn.pad_sequence(
            [torch.tensor(sequence) for sequence in sequences],
            batch_first=True,
            padding_value=value,
            padding_side=self.padding_side,
        )


def predicting_columns(labels: torch.Tensor) -> torch.Tensor:
    """Columns of a batch whose logits predict a label of some row, int64 `[n]`.

    `labels` are `[B, S]`; the model need not compute logits anywhere else.
    """
    return (labels[:, 1:] != IGNORED).any(dim=0).nonzero().flatten()
