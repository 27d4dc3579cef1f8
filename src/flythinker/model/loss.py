"""Next-token loss straight from hidden states, a few rows of logits at a time.

A vocabulary is a hundred times as wide as a hidden state: logits, their float32 copy and their
gradient would be most of a training step's memory. Here some rows' logits are made, give their loss
and gradients, and are gone. `torch.nn.functional.linear_cross_entropy` does as much, but takes 8 to
50 times as long on a CPU (torch 2.13, 160 rows of SmolLM2).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

SummedLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Rows [n, d], a head's weight [vocab, d] and targets [n] → a float32 scalar."""

_CHUNK_LOGITS = 2**25  # 128 MiB in float32
# Their logits are the head's output as it is: not scaled, and capped only if their config says so.
_PLAIN_LOGITS = ("gemma3_text", "llama", "mistral", "qwen2", "qwen3", "smollm3")


def next_token_targets(labels: Tensor, logits_to_keep: int | Tensor) -> Tensor:
    """Labels [batch, seq] moved to where they are predicted, at the kept columns [batch, kept]."""
    shifted = nn.functional.pad(labels[:, 1:], (0, 1), value=-100)
    return kept(shifted, logits_to_keep).contiguous()


def kept(values: Tensor, logits_to_keep: int | Tensor) -> Tensor:
    """The columns of `values` [batch, seq, …] whose logits are wanted, as in `forward`."""
    keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
    return values[:, keep]


def can_be_chunked(generator: Any) -> bool:
    """Whether a causal LM's logits are a plain linear map of its hidden states."""
    head = generator.get_output_embeddings()
    plain = type(head) is nn.Linear and head.bias is None
    capped = getattr(generator.config, "final_logit_softcapping", None) is not None
    return plain and not capped and generator.config.model_type in _PLAIN_LOGITS


def chunked_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    num_items: Tensor | float | None = None,
    summed: SummedLoss | None = None,
) -> Tensor:
    """The summed cross-entropy of logits `hidden @ weight.T`, over `num_items`; a float32 scalar.

    Args:
        hidden: [..., d]; gradients flow to it and to `weight` where these need them.
        weight: [vocab, d] of the head; in autocast both are multiplied in autocast's type.
        targets: int64 [...], -100 where there is nothing to predict.
        num_items: the divisor; default: the number of targets.
        summed: what takes the sum; default: `summed_cross_entropy`.
    """
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        hidden, weight = hidden.to(dtype), weight.to(dtype)
    labelled = targets != -100
    rows, targets = hidden[labelled], targets[labelled]
    divisor = len(targets) if num_items is None else num_items
    return (summed or summed_cross_entropy)(rows, weight, targets) / divisor


def summed_cross_entropy(rows: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """The same of rows [n, d] that all have a target, not divided."""
    return _ChunkedCrossEntropy.apply(rows, weight, targets)


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Sum over rows; the gradients are made in the forward pass, while the logits are there."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        needs_rows, needs_weight, _ = ctx.needs_input_grad
        for_rows = torch.empty_like(rows) if needs_rows else None
        for_weight = torch.zeros_like(weight, dtype=torch.float32) if needs_weight else None
        loss = torch.zeros((), device=rows.device)
        step = max(1, _CHUNK_LOGITS // len(weight))
        for begin in range(0, len(rows), step):
            chunk, wanted = rows[begin : begin + step], targets[begin : begin + step, None]
            logits = nn.functional.linear(chunk, weight).float()
            normalizer = logits.logsumexp(-1, keepdim=True)
            loss += (normalizer - logits.gather(1, wanted)).sum()
            if not needs_rows and not needs_weight:
                continue
            # softmax minus one-hot, in the logits' own memory
            gradient = logits.sub_(normalizer).exp_()
            gradient.scatter_add_(1, wanted, -torch.ones_like(normalizer))
            gradient = gradient.to(weight.dtype)
            if for_rows is not None:
                for_rows[begin : begin + step] = gradient @ weight
            if for_weight is not None:
                for_weight += gradient.T @ chunk
        ctx.gradients = for_rows, for_weight
        ctx.weight_dtype = weight.dtype
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        for_rows, for_weight = ctx.gradients
        if for_rows is not None:
            for_rows = for_rows * upstream.to(for_rows.dtype)
        if for_weight is not None:
            for_weight = (for_weight * upstream).to(ctx.weight_dtype)
        return for_rows, for_weight, None
