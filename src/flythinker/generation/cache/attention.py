"""Attention over slots: the functions and masks that transformers' models are told to use.

A model asks for its masks itself, each layer for the pattern it needs (the whole text, a window, a
chunk): `slot_mask` makes them for rows that each stand at another column.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

GROUPED = "flythinker_grouped"
OWN_CODE = "flythinker_own"
"""A model's own code attends, with masks of numbers that are added to scores."""


def grouped_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' SDPA attention without copying keys and values for each query head.

    The G query heads of a key head are read as G times as many queries of that one head. In
    decoding, where reading the cache is all the work, this saves moving it G + 1 times.

    Args:
        query: [B, H, T, d]. key, value: [B, H / G, L, d]. attention_mask: [B or 1, 1 or H, T, L].
    """
    one_mask = attention_mask is not None and attention_mask.shape[1] == 1
    biased = kwargs.get("position_bias") is not None
    if not one_mask or biased or query.shape[1] == key.shape[1]:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    assert attention_mask is not None
    batch, heads, tokens, size = query.shape
    groups = heads // key.shape[1]
    mask = attention_mask if tokens == 1 else attention_mask.repeat(1, 1, groups, 1)
    output = scaled_dot_product_attention(
        query.reshape(batch, key.shape[1], groups * tokens, size),
        key,
        value,
        attn_mask=mask,
        scale=kwargs.get("scaling"),
    )
    output = output.reshape(batch, heads, tokens, value.shape[-1])
    return output.transpose(1, 2).contiguous(), None


def slot_mask(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: Tensor,
    mask_function: Callable[..., Tensor],
    device: torch.device,
    **kwargs: Any,
) -> Tensor:
    """What each token may see by a pattern of transformers', bool [batch, 1, q_length, kv_length].

    Args:
        batch_size: rows.
        q_length: tokens that each row reads.
        kv_length: columns, from the first of the slots on.
        q_offset: the column of each row's first token, [batch], see `SlotCache.get_query_offset`.
        mask_function: of row, head, query column and key column, whether that key is seen.
        device: where to.
        kwargs: what transformers says besides; no slot has padding.
    """
    rows = torch.arange(batch_size, device=device)[:, None, None, None]
    head = torch.zeros(1, 1, 1, 1, dtype=torch.long, device=device)
    queries = q_offset[:, None] + torch.arange(q_length, device=device)
    keys = torch.arange(kv_length, device=device)
    seen = mask_function(rows, head, queries[:, None, :, None], keys[None, None, None])
    return seen.expand(batch_size, 1, q_length, kv_length)


def additive_slot_mask(*args: Any, dtype: torch.dtype = torch.float32, **kwargs: Any) -> Tensor:
    """`slot_mask` as numbers to add to scores, [batch, 1, q_length, kv_length] of `dtype`."""
    seen = slot_mask(*args, **kwargs)
    unseen = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
    return unseen.masked_fill(~seen, torch.finfo(dtype).min)


AttentionInterface.register(GROUPED, grouped_attention)
AttentionMaskInterface.register(GROUPED, slot_mask)
AttentionInterface.register(OWN_CODE, sdpa_attention_forward)  # never called, but must be known
AttentionMaskInterface.register(OWN_CODE, additive_slot_mask)


def register_eager(name: str, eager: Callable[..., Any]) -> None:
    """Let models attend over slots by a family's own `eager` function, under `name`."""
    AttentionInterface.register(name, eager)
    AttentionMaskInterface.register(name, additive_slot_mask)
