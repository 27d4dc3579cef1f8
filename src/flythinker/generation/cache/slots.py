"""Key and value caches in slots: many texts of different lengths, written in place.

A text has a slot for as long as it is written. Its tokens stand at columns 0, 1, 2, … of the slot,
so nothing is padded, nothing is concatenated, and a text joins or leaves without touching another.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, DynamicCache, PreTrainedConfig
from transformers.cache_utils import CacheLayerMixin

_BLOCK = 256  # columns that a cache grows by at least


class SlotCache(Cache):
    """One part's keys and values, [slots, heads, capacity, head_dim] a layer.

    Before each pass `place` says which slots it reads and writes, and where.
    """

    def __init__(self, config: PreTrainedConfig, slots: int) -> None:
        """As many layers as a part with this `config` keeps keys and values of.

        Whole texts are kept also where a layer sees only a window: what was cut can be read again
        by the next prompt that begins the same, or after a draft that proved wrong.
        """
        kinds = DynamicCache(config=config).layers
        # a layer that reads another one's keys and values keeps none: transformers' stays as it is
        keeps = [isinstance(kind, CacheLayerMixin) for kind in kinds]
        super().__init__(
            layers=[
                SlotLayer(slots) if kept else kind for kind, kept in zip(kinds, keeps, strict=True)
            ]
        )
        self.kept: list[SlotLayer] = [each for each in self.layers if isinstance(each, SlotLayer)]
        self.columns = torch.zeros(0, 0, dtype=torch.long)
        self.end = 0

    def place(self, first: int, starts: list[int], tokens: int, device: torch.device) -> Tensor:
        """Say where the next pass reads: row i in slot `first` + i, its tokens from `starts[i]` on.

        Returns the columns [rows, tokens] of the tokens.
        """
        steps = torch.arange(tokens, device=device)
        self.columns = torch.tensor(starts, device=device)[:, None] + steps
        self.end = max(starts) + tokens
        for layer in self.kept:
            layer.first, layer.columns, layer.end = first, self.columns, self.end
        return self.columns

    def mask(self) -> Tensor:
        """What each token of this pass may see where a layer sees the whole text.

        Bool [rows, 1, tokens, L].
        """
        seen = torch.arange(self.end, device=self.columns.device)
        return seen <= self.columns[:, None, :, None]

    def get_query_offset(self, layer_idx: int = 0) -> Tensor:
        """Where each row begins to read, [rows]: from this transformers makes its masks."""
        return self.columns[:, 0]

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` columns of a slot to another."""
        for layer in self.kept:
            for values in (layer.keys, layer.values):
                values[target, :, :length] = values[source, :, :length]

    def copy_out(self, slot: int, length: int) -> tuple[list[Tensor], list[Tensor]]:
        """Keys and values [heads, length, head_dim] a layer, of the beginning of a slot, copied."""
        keys = [layer.keys[slot, :, :length].clone() for layer in self.kept]
        return keys, [layer.values[slot, :, :length].clone() for layer in self.kept]

    def copy_in(self, slot: int, keys: list[Tensor], values: list[Tensor], length: int) -> None:
        """Begin a slot with the first `length` columns of what `copy_out` gave."""
        for layer, own_keys, own_values in zip(self.kept, keys, values, strict=True):
            layer.reserve(length)
            layer.keys[slot, :, :length] = own_keys[:, :length]
            layer.values[slot, :, :length] = own_values[:, :length]

    def n_bytes(self) -> int:
        """What the cache holds, free columns included."""
        return sum(
            values.numel() * values.element_size()
            for layer in self.kept
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
        """Length and offset of what a mask covers."""
        return self.end, 0

    def get_seq_length(self) -> int:
        """Columns that the last pass has reached."""
        return self.end

    def get_max_length(self) -> int:
        """No maximum: slots grow."""
        return -1
