"""Held-out loss: how well a model predicts what the user really wrote, token by token.

The loss by position shows context drift: the paper finds that methods without thoughts get worse
in later segments of the response (tokens 100-200, 200-300, …).
"""

from collections.abc import Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from flythinker.data.batch import IGNORED, Collator, Row, batches_by_length, predicting_columns
from flythinker.errors import FlyThinkerError
from flythinker.files import atomic_write
from flythinker.progress import track
from flythinker.scoring.significance import Interval, bootstrap, paired_difference


class PositionLoss(NamedTuple):
    """Mean loss (nats/token) of response tokens `start` to `end` (exclusive), 95 % interval."""

    start: int
    end: int
    mean: float
    n_tokens: int
    n_examples: int
    low: float
    high: float


@torch.inference_mode()
def token_losses(
    model: PreTrainedModel,
    encoded: Sequence[Row],
    collator: Collator,
    batch_size: int = 8,
    description: str = "Held-out loss",
) -> list[NDArray[np.float32]]:
    """Negative log-likelihood in nats of each labelled token, one float32 array per example.

    `collator` pads on the right. Runs on the model's device, in its dtype, with the log-softmax
    in float32; arrays come back in the order of `encoded`, whatever the batch size.
    """
    model.eval()
    batches = batches_by_length([row["length"] for row in encoded], batch_size)
    losses: dict[int, NDArray[np.float32]] = {}
    for indices in track(batches, description, unit="/batch"):
        batch = {k: v.to(model.device) for k, v in collator([encoded[i] for i in indices]).items()}
        losses |= zip(indices, _batch_losses(model, batch), strict=True)
    return [losses[i] for i in range(len(encoded))]


def _batch_losses(
    model: PreTrainedModel, batch: dict[str, torch.Tensor]
) -> list[NDArray[np.float32]]:
    rows = []
    for logits, targets in response_logits(model, batch):  # a row at a time: memory
        rows.append(cross_entropy(logits.float(), targets, reduction="none").cpu().numpy())
    return rows


def response_logits(
    model: PreTrainedModel, batch: dict[str, torch.Tensor]
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The logits [n, vocab] that predict each row's n labelled tokens, and those tokens [n].

    `batch` is a collator's, on the model's device.
    """
    # Column p predicts the token at p + 1; only columns that predict a label get logits.
    labels = batch["labels"]
    columns = predicting_columns(labels)
    inputs = {name: values for name, values in batch.items() if name != "labels"}
    logits = model(**inputs, logits_to_keep=columns, use_cache=False).logits
    for row, targets in zip(logits, labels[:, columns + 1], strict=True):
        labelled = targets != IGNORED
        yield row[labelled], targets[labelled]


def response_characters(
    responses: Sequence[Sequence[int]], tokenizer: PreTrainedTokenizerBase
) -> list[int]:
    """Characters of the text that each response's tokens spell; the id that ends it spells none.

    Nats divided by them compare models of different tokenizers, as long as all of them are measured
    on the whole text.
    """
    texts = tokenizer.batch_decode(
        responses, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return [len(text) for text in texts]


def save_losses(
    path: Path, losses: Sequence[NDArray[np.float32]], characters: Sequence[int] = ()
) -> None:
    """Keep token losses, as float16: a mean over thousands of tokens moves by less than 1e-5.

    `characters` are those of each example's response, where they are known.
    """
    with atomic_write(path, binary=True) as file:
        lengths = np.array([len(nats) for nats in losses])
        nats = np.concatenate([*losses, np.zeros(0)])
        np.savez_compressed(
            file,
            nats=nats.astype(np.float16),
            lengths=lengths,
            characters=np.array(characters, dtype=np.int64),
        )


def load_losses(path: Path) -> list[NDArray[np.float32]]:
    """What `save_losses` kept, one float32 array per example."""
    with np.load(path) as arrays:
        return np.split(arrays["nats"].astype(np.float32), np.cumsum(arrays["lengths"])[:-1])


def load_characters(path: Path) -> list[int] | None:
    """The characters that `save_losses` kept; `None` where it was not given them."""
    with np.load(path) as arrays:
        kept = arrays["characters"].tolist() if "characters" in arrays else []
    return kept or None


def loss_statistics(losses: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Nats and tokens of each example, float64 [n, 2]; their ratio of sums is the loss."""
    return np.array([[nats.sum(dtype=np.float64), len(nats)] for nats in losses])


def character_statistics(
    losses: Sequence[NDArray[np.float32]], characters: Sequence[int]
) -> NDArray[np.float64]:
    """Nats and characters of each example, float64 [n, 2]; their ratio is the loss a character."""
    nats = loss_statistics(losses)[:, 0]
    return np.column_stack([nats, np.asarray(characters, dtype=np.float64)])


def held_out_loss(losses: Sequence[NDArray[np.float32]]) -> float:
    """Nats per token over all tokens of all examples, so long examples weigh more."""
    nats, tokens = loss_statistics(losses).sum(axis=0)
    if tokens == 0:
        raise FlyThinkerError("no labelled token to measure a held-out loss on")
    return float(nats / tokens)


def loss_by_position(losses: Sequence[NDArray[np.float32]], width: int = 100) -> list[PositionLoss]:
    """Loss of response tokens 0 to `width`, `width` to 2 `width`, … over the examples that long.

    Later segments hold fewer examples, and other ones: compare methods within a segment, not
    segments with each other, unless `n_examples` is the same.
    """
    curve = []
    for i, statistics in enumerate(_segments(losses, width)):
        mean, low, high = astuple(bootstrap(statistics))
        tokens = int(statistics[:, 1].sum())
        segment = i * width, (i + 1) * width
        curve.append(PositionLoss(*segment, mean, tokens, len(statistics), low, high))
    return curve


def difference_by_position(
    losses: Sequence[NDArray[np.float32]],
    baseline: Sequence[NDArray[np.float32]],
    width: int = 100,
) -> list[Interval]:
    """Loss minus the baseline's in each segment of `loss_by_position`, paired by example."""
    pairs = zip(_segments(losses, width), _segments(baseline, width), strict=True)
    return [paired_difference(ours, theirs) for ours, theirs in pairs]


def _segments(losses: Sequence[NDArray[np.float32]], width: int) -> list[NDArray[np.float64]]:
    """`loss_statistics` of each segment, of the examples that reach it."""
    longest = max(map(len, losses), default=0)
    return [
        loss_statistics([nats[start : start + width] for nats in losses if len(nats) > start])
        for start in range(0, longest, width)
    ]
