"""Key and value caches in slots: many texts of different lengths, written in place.

A text has a slot for as long as it is written. Its tokens stand at columns 0, 1, 2, … of the slot,
so nothing is padded, nothing is concatenated, and a text joins or leaves without touching another.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, Cache, PreTrainedModel
from transformers.cache_utils import CacheLayerMixin
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ATTENTION = "flythinker_grouped"
_BLOCK = 256  # columns that a cache grows by at least


class SlotCache(Cache):
    """One part's keys and values, [slots, heads, capacity, head_dim] a layer.

    Before each pass `place` says which slots it reads and writes, and where.
    """

    def __init__(self, model: PreTrainedModel, slots: int) -> None:
        super().__init__(layers=[SlotLayer(slots) for _ in range(model.config.num_hidden_layers)])

    def place(
        self, first: int, starts: list[int], tokens: int, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """Say where the next pass reads: row i in slot `first` + i, its tokens from `starts[i]` on.

        Returns the columns [rows, tokens] of the tokens, and the mask bool [rows, 1, tokens, L] of
        what each may see.
        """
        steps = torch.arange(tokens, device=device)
        columns = torch.tensor(starts, device=device)[:, None] + steps
        end = max(starts) + tokens
        for layer in self.layers:
            layer.first, layer.columns, layer.end = first, columns, end
        return columns, torch.arange(end, device=device) <= columns[:, None, :, None]

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` columns of a slot to another."""
        for layer in self.layers:
            for values in (layer.keys, layer.values):
                values[target, :, :length] = values[source, :, :length]

    def copy_out(self, slot: int, length: int) -> tuple[Tensor, Tensor]:
        """Keys and values [layers, heads, length, head_dim] of the beginning of a slot, copied."""
        keys = torch.stack([layer.keys[slot, :, :length] for layer in self.layers])
        return keys, torch.stack([layer.values[slot, :, :length] for layer in self.layers])

    def copy_in(self, slot: int, keys: Tensor, values: Tensor, length: int) -> None:
        """Begin a slot with the first `length` columns of what `copy_out` gave."""
        for layer, own_keys, own_values in zip(self.layers, keys, values, strict=True):
            layer.reserve(length)
            layer.keys[slot, :, :length] = own_keys[:, :length]
            layer.values[slot, :, :length] = own_values[:, :length]

    def n_bytes(self) -> int:
        """What the cache holds, free columns included."""
        return sum(
            values.numel() * values.element_size()
            for layer in self.layers
            if layer.is_initialized
            for values in (layer.keys, layer.values)
        )


class SlotLayer(CacheLayerMixin):
    """The slots of one layer."""

    is_sliding = False

    def __init__(self, slots: int) -> None:
        super().__init__()
        self.slots = slots
        self.first, self.end = 0, 0
        self.columns = torch.zeros(0, 0, dtype=torch.long)

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Take the shape and type of the first keys; no columns yet."""
        self.keys = key_states.new_empty(self.slots, key_states.shape[1], 0, key_states.shape[3])
        self.values = value_states.new_empty(
            self.slots, value_states.shape[1], 0, value_states.shape[3]
        )
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write new keys and values [rows, heads, tokens, head_dim]; returns all up to `end`."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.reserve(self.end)
        rows = slice(self.first, self.first + len(key_states))
        for kept, new in ((self.keys, key_states), (self.values, value_states)):
            if len(new) == 1:  # columns of one row follow each other
                kept[self.first, :, self.end - new.shape[2] : self.end] = new[0]
            else:
                slots = torch.arange(rows.start, rows.stop, device=new.device)[:, None]
                kept[slots, :, self.columns] = new.transpose(1, 2)
        return self.keys[rows, :, : self.end], self.values[rows, :, : self.end]

    def reserve(self, columns: int) -> None:
        """Grow to hold so many columns, by doubling."""
        capacity = self.keys.shape[2]
        if columns > capacity:
            more = (0, 0, 0, max(columns, 2 * capacity, _BLOCK) - capacity)
            self.keys = nn.functional.pad(self.keys, more)
            self.values = nn.functional.pad(self.values, more)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of a mask; the passes here bring their own."""
        return self.end, 0

    def get_seq_length(self) -> int:
        """Columns that the last pass has reached."""
        return self.end

    def get_max_length(self) -> int:
        """No maximum: slots grow."""
        return -1


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
        query: [B, H, T, d]. key, value: [B, H / G, L, d]. attention_mask: [B or 1, 1, T, L].
    """
    if attention_mask is None or query.shape[1] == key.shape[1]:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
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
    return output.reshape(batch, heads, tokens, size).transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, grouped_attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
