"""Which way a part attends over slots, and the proof that it then computes what it is.

Families differ in what their layers see and in how they are told. No list of names says here which
can be written with: rules find the ways that may do, and a few tokens are read by each until one
gives the part's own last hidden states.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import (
    CacheLayerMixin,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionCacheLayerMixin,
)
from transformers.pytorch_utils import Conv1D

from flythinker.errors import FlyThinkerError
from flythinker.generation.cache.attention import GROUPED, OWN_CODE, register_eager
from flythinker.generation.cache.slots import SlotCache
from flythinker.generation.cpu.layers import can_be_fused
from flythinker.model.cache import CACHE_NAME
from flythinker.model.parts import backbone_of

_TOKENS = 12
_PASSES = (  # over the slots from the first on, where each of their texts goes on, tokens
    (1, [0], 5),
    (0, [0], 3),
    (0, [3], 6),
    (0, [9, 5], 2),
    (0, [11, 7], 1),
)
_TOGETHER = 3  # the last of the tokens, side by side with another text's
_Calls = dict[nn.Module, set[tuple[int, ...]]]
_LENGTH_BOUND_ROTARY = ("dynamic", "longrope")


class SlotWay(NamedTuple):
    """How a part reads slots.

    Attributes:
        attention: what transformers calls it.
        uncalled: linear layers whose weights the part's code reads by itself.
        by_rows: names of those that read [texts, tokens, in], a text a row; the others may read
            tokens of all texts in whatever order. Of a part by layers of our own, none.
    """

    attention: str
    uncalled: frozenset[nn.Module] = frozenset()
    by_rows: frozenset[str] = frozenset()


class NoSlots(FlyThinkerError):
    """A part cannot read slots; the message is one line that says which layer, and what is done."""


def slot_way(part: PreTrainedModel) -> SlotWay:
    """The fastest way in which a part attends over a `SlotCache` and computes what it is.

    The part is as before; `attend` makes it go that way.

    Raises:
        NoSlots: there is none: a layer keeps something else than keys and values of
            tokens, or does not do with slots what it does without.
    """
    _check_layers(part)
    _check_rotary(part)
    if can_be_fused(part):  # by layers of our own, which tests prove
        return SlotWay(GROUPED)
    embeds = _some_embeddings(part)
    with torch.no_grad():  # nothing that a module may keep is a tensor of inference only
        expected = backbone_of(part)(inputs_embeds=embeds, use_cache=False).last_hidden_state
        for way in _ways(part):
            with _attending(part, way), _linear_calls(part) as calls:
                if _same(expected, _read_in_slots(part, embeds)):
                    return _way_of(way, part, calls)
    raise _refusal(part, "its layers do not read several texts side by side as they read one")


def attend(part: PreTrainedModel, way: str) -> None:
    """Make a part attend as the `attention` of its `SlotWay` says."""
    for config in _configs(part):
        config._attn_implementation = way


def slot_inputs(embeds: Tensor, columns: Tensor, cache: SlotCache) -> dict[str, Any]:
    """What a part is called with to read `embeds` [n, T, d] at `columns` [n, T] of its cache.

    No mask: it makes its own, by `slot_mask`.
    """
    return {
        "inputs_embeds": embeds,
        "position_ids": columns,
        CACHE_NAME: cache,
        "use_cache": True,
    }


def _check_layers(part: PreTrainedModel) -> None:
    """Raise `NoSlots` for a layer that keeps something else than keys and values."""
    config = part.config.get_text_config(decoder=True)
    for number, layer in enumerate(DynamicCache(config=config).layers):
        keeps = isinstance(layer, CacheLayerMixin | LinearAttentionCacheLayerMixin)
        if keeps and type(layer) not in (DynamicLayer, DynamicSlidingWindowLayer):
            kinds = getattr(config, "layer_types", None)
            kind = kinds[number] if kinds else type(layer).__name__
            raise _refusal(part, f"layer {number} ({kind}) keeps more than keys and values")


def _check_rotary(part: PreTrainedModel) -> None:
    """Raise `NoSlots` where positions depend on the longest text of a batch."""
    config = part.config.get_text_config(decoder=True)
    rotary = getattr(config, "rope_parameters", None) or {}
    for each in (rotary, *rotary.values()):
        if isinstance(each, dict) and each.get("rope_type") in _LENGTH_BOUND_ROTARY:
            kind = each["rope_type"]
            raise _refusal(part, f"its rotary positions ({kind}) depend on the longest text")


def _refusal(part: PreTrainedModel, why: str) -> NoSlots:
    return NoSlots(f"{type(part).__name__}: {why}; its texts are written one after the other")


def _ways(part: PreTrainedModel) -> Iterator[str]:
    """What may do, the fastest first."""
    backbone = backbone_of(part)
    if not backbone._can_set_attn_implementation():
        if not _has_windows(part.config):  # such code may look at how far back a key is
            yield OWN_CODE
        return
    if backbone._supports_sdpa:
        yield GROUPED
    eager = getattr(sys.modules[type(backbone).__module__], "eager_attention_forward", None)
    if eager is not None:  # caps, sinks: what makes a family's attention its own
        name = f"flythinker_{type(backbone).__name__}"
        register_eager(name, eager)
        yield name


def _has_windows(config: PreTrainedConfig) -> bool:
    """Whether a config speaks of layers that do not see the whole text."""
    return any("window" in name and value for name, value in config.to_dict().items())


def _configs(part: PreTrainedModel) -> list[PreTrainedConfig]:
    """The configs by which a part's modules attend."""
    return [each.config for each in part.modules() if isinstance(each, PreTrainedModel)]


@contextmanager
def _attending(part: PreTrainedModel, way: str) -> Iterator[None]:
    before = [(config, config._attn_implementation) for config in _configs(part)]
    attend(part, way)
    try:
        yield
    finally:
        for config, own in before:
            config._attn_implementation = own


@contextmanager
def _linear_calls(part: PreTrainedModel) -> Iterator[_Calls]:
    """What the linear layers of a part without its head read within the block."""
    calls: _Calls = {
        each: set() for each in backbone_of(part).modules() if isinstance(each, nn.Linear | Conv1D)
    }
    hooks = [
        each.register_forward_hook(lambda layer, read, _: calls[layer].add(_rows_of(read)))
        for each in calls
    ]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def _rows_of(inputs: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(inputs[0].shape[:-1]) if inputs else ()


def _way_of(attention: str, part: PreTrainedModel, calls: _Calls) -> SlotWay:
    """The way in which a part has made these calls."""
    passes = {(len(starts), tokens) for _, starts, tokens in _PASSES}
    by_rows = {layer for layer, read in calls.items() if read and read <= passes}
    uncalled = {layer for layer, read in calls.items() if not read and type(layer) is nn.Linear}
    names = {name for name, layer in part.named_modules() if layer in by_rows}
    return SlotWay(attention, frozenset(uncalled), frozenset(names))


def _some_embeddings(part: PreTrainedModel) -> Tensor:
    """Of two texts, [2, _TOKENS, d]."""
    table = part.get_input_embeddings()
    ids = torch.arange(2 * _TOKENS, device=table.weight.device).reshape(2, _TOKENS)
    with torch.no_grad():
        return table(7 * ids % table.num_embeddings)


def _read_in_slots(part: PreTrainedModel, embeds: Tensor) -> list[Tensor] | None:
    """Last hidden states of the beginnings of two texts, [T, d] each, read as a `Writer` does.

    One after the other, in pieces, then both at the same time at different columns, several tokens
    (drafts) and one. `None` where the part does not know what to do.
    """
    cache = SlotCache(part.config, slots=2)
    hidden: list[list[Tensor]] = [[], []]

    def read(first: int, starts: list[int], tokens: int) -> None:
        rows = range(first, first + len(starts))
        new = [embeds[row, start : start + tokens] for row, start in zip(rows, starts, strict=True)]
        columns = cache.place(first, starts, tokens, embeds.device)
        output = backbone_of(part)(**slot_inputs(torch.stack(new), columns, cache))
        for row, states in zip(rows, output.last_hidden_state, strict=True):
            hidden[row].append(states)

    try:
        for each in _PASSES:
            read(*each)
    except Exception:  # whatever a family's code says to what it does not know
        return None
    return [torch.cat(states) for states in hidden]


def _same(expected: Tensor, texts: list[Tensor] | None) -> bool:
    """Whether the states of each text are `expected` [2, _TOKENS, d], up to rounding."""
    if texts is None:
        return False
    near = torch.finfo(expected.dtype).eps ** 0.5
    for own, states in zip(expected, texts, strict=True):
        own = own[: len(states)].float()
        size = own.norm(dim=-1).clamp_min(1e-6)  # a padding token may be nothing at all
        off = (states.float() - own).norm(dim=-1) / size
        # rounding may send a token to another expert: one token alone proves nothing
        if not all(part.median() < near for part in (off[:-_TOGETHER], off[-_TOGETHER:])):
            return False
    return True
