"""`CachedPart`: the Generator or the Reasoner over a cache of its own."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from flythinker.generation.cache.prefix import Prefix, PrefixCache
from flythinker.generation.cache.slots import SlotCache
from flythinker.generation.cpu.layers import FusedBackbone, MakeLinear, can_be_fused
from flythinker.generation.cpu.packed import pack
from flythinker.generation.slot_way import SlotWay, attend, slot_inputs
from flythinker.model.parts import backbone_of


class CachedPart:
    """A part of a model, which it uses up, over a `SlotCache`.

    Its layers become fused ones (see `FusedBackbone`) where its family is known, and packed ones
    elsewhere, which compute the same faster.

    Attributes:
        cache: of all slots.
        table: its embeddings.
        layers: what runs one after the other.
        made_of: its linear layers whose rows are those of a pass, and the names in the part as it
            was of those that each computes.
    """

    def __init__(self, part: PreTrainedModel, slots: int, linear: MakeLinear, way: SlotWay) -> None:
        """`linear` makes its linear layers, see `pack`; `way` is from `slot_way`."""
        attend(part, way.attention)
        self.cache = SlotCache(part.config, slots)
        self._fused = None
        if can_be_fused(part):
            self._fused = FusedBackbone(part.base_model, linear)
            part.base_model.layers = nn.ModuleList()  # each weight is in memory once
        pack(part, linear, way.uncalled)
        self.made_of = self._made_of(part, way)
        self._part = part
        self.layers = getattr(self._fused or backbone_of(part), "layers", nn.ModuleList())
        self.table: nn.Embedding = part.get_input_embeddings()

    @property
    def device(self) -> torch.device:
        """Where it reads tokens."""
        return self.table.weight.device

    def place(self, first: int, starts: list[int], ids: Tensor) -> Tensor:
        """Say where the next pass reads tokens [n, T], see `SlotCache.place`."""
        return self.cache.place(first, starts, ids.shape[1], ids.device)

    def embed(self, ids: Tensor) -> Tensor:
        """The embeddings [n, T, d] of tokens [n, T]."""
        return self.table(ids)

    def hidden(self, embeds: Tensor, columns: Tensor) -> Tensor:
        """Last hidden states [n, T, d] of `embeds`; `columns` as from `place`."""
        if self._fused is not None:
            return self._fused(embeds, columns, self.cache.mask(), self.cache)
        inputs = slot_inputs(embeds, columns, self.cache)
        return backbone_of(self._part)(**inputs).last_hidden_state

    def _made_of(self, part: PreTrainedModel, way: SlotWay) -> dict[nn.Module, tuple[str, ...]]:
        if self._fused is None:
            return {part.get_submodule(name): (name,) for name in way.by_rows}
        inner = "" if part.base_model is part else f"{part.base_model_prefix}."
        return {
            layer: tuple(inner + name for name in names)
            for layer, names in self._fused.made_of().items()
        }

    def recall(
        self, prefixes: PrefixCache, kind: str, ids: list[int], slot: int
    ) -> tuple[int, Tensor | None]:
        """Begin a slot with what a prompt before has in common with `ids`.

        Returns how many tokens that is, and the thoughts [tokens, d_R] kept with them.
        """
        found, prefix = prefixes.find(kind, ids)
        if prefix is None:
            return 0, None
        self.cache.copy_in(slot, prefix.keys, prefix.values, found)
        return found, None if prefix.thoughts is None else prefix.thoughts[:found]

    def remember(
        self,
        prefixes: PrefixCache,
        kind: str,
        ids: list[int],
        slot: int,
        thoughts: Tensor | None = None,
    ) -> None:
        """Keep a prompt just read in a slot for the next one that begins as it does."""
        if prefixes.max_bytes:
            prefixes.put(kind, ids, Prefix(*self.cache.copy_out(slot, len(ids)), thoughts))


class CachedGenerator(CachedPart):
    """The Generator, which has a head.

    Attributes:
        head: d_G → vocabulary.
        head_norms: [vocab], of the head's rows, which nobody can read once they are packed.
    """

    def __init__(self, part: PreTrainedModel, slots: int, linear: MakeLinear, way: SlotWay) -> None:
        self.head_norms: Tensor = part.get_output_embeddings().weight.detach().norm(dim=-1).float()
        super().__init__(part, slots, linear, way)
        self.head: Any = part.get_output_embeddings()

    def logits(self, embeds: Tensor, columns: Tensor, keep: int = 0) -> Tensor:
        """Logits [n, T or the last `keep`, vocab]; arguments as of `hidden`."""
        if self._fused is not None:
            return self.head(self.hidden(embeds, columns)[:, -keep:])
        inputs = slot_inputs(embeds, columns, self.cache)
        return self._part(**inputs, logits_to_keep=keep).logits
