"""Rows of one pass with a person's low-rank changes each: y_i + (x_i A_iᵀ) B_iᵀ.

The weights stay one for all. Rows without an adapter are not computed with, and a pass in which no
row has one runs as if there were none anywhere.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from flythinker.adapter import Adapter, Part, check_base, fingerprint, layers_to_adapt
from flythinker.errors import FlyThinkerError
from flythinker.generation.cached_part import CachedPart

Made = Mapping[nn.Module, tuple[str, ...]]
"""What computes a part: a module, and the linear layers whose outputs it gives side by side."""


class Linear(NamedTuple):
    """A linear layer that adapters change, before a `Runner` makes something else of it."""

    inputs: int
    outputs: int
    device: torch.device
    dtype: torch.dtype


class Base(NamedTuple):
    """What adapters of a part are for: its `fingerprint`, and the linear layers by their names."""

    fingerprint: str
    linears: dict[str, Linear]


def bases_of(model: PreTrainedModel) -> dict[Part, Base]:
    """What adapters of the parts that run are for; of a model whose weights can still be read."""
    parts = get_args(Part) if model.config.fusion_weight else ("generator",)
    return {part: Base(fingerprint(model, part), _linears(model, part)) for part in parts}


def _linears(model: PreTrainedModel, part: Part) -> dict[str, Linear]:
    linears = {}
    for name in layers_to_adapt(model, part):
        layer: Any = model.get_submodule(name)
        outputs, inputs = layer.weight.shape
        if isinstance(layer, Conv1D):
            outputs, inputs = inputs, outputs
        linears[name] = Linear(inputs, outputs, layer.weight.device, layer.weight.dtype)
    return linears


class RowAdapters:
    """Tells the layers of both parts which row has whose adapter."""

    def __init__(self, bases: Mapping[Part, Base], made: Mapping[Part, Made]) -> None:
        """`made` are the layers as they are now, with the names that they have in `bases`."""
        self._parts = {part: AdaptedPart(base, made[part]) for part, base in bases.items()}

    @classmethod
    def over(
        cls,
        bases: Mapping[Part, Base],
        generator: CachedPart,
        reasoner: CachedPart | None,
        projection: nn.Module | None,
    ) -> "RowAdapters":
        """Of parts that read slots; `bases` is from before they were made of the model."""
        made: dict[Part, Made] = {"generator": _named("generator", generator.made_of)}
        if reasoner is not None:
            entrance = {} if projection is None else {projection: ("projection",)}
            made["reasoner"] = {**_named("reasoner", reasoner.made_of), **entrance}
        return cls(bases, made)

    @classmethod
    def of(cls, model: PreTrainedModel) -> "RowAdapters":
        """Of a model as it is, which reads one row at a time."""
        bases = bases_of(model)
        return cls(
            bases,
            {
                part: {model.get_submodule(name): (name,) for name in base.linears}
                for part, base in bases.items()
            },
        )

    def base(self, part: Part) -> str | None:
        """The `fingerprint` that adapters of a part must have; `None`: there is no such part."""
        return self._parts[part].base.fingerprint if part in self._parts else None

    def check(self, adapter: Adapter) -> None:
        """Raise `FlyThinkerError` where rows cannot have `adapter`: another model's, mostly."""
        name, part = f"adapter of {adapter.about.user}", self._parts.get(adapter.about.part)
        check_base(adapter, self.base(adapter.about.part), name)
        assert part is not None
        part.check(adapter, name)

    @torch.inference_mode()
    def use(self, rows: Sequence[Adapter | None]) -> None:
        """Say whose adapter each row has in the passes from now on."""
        for name, part in self._parts.items():
            part.use([a if a is not None and a.about.part == name else None for a in rows])


def _named(part: Part, made_of: Made) -> Made:
    return {layer: tuple(f"{part}.{name}" for name in names) for layer, names in made_of.items()}


class AdaptedPart:
    """The layers of a part, of which the rows of a pass have changes.

    Attributes:
        base: what it was before it was made into other layers.
    """

    def __init__(self, base: Base, made: Made) -> None:
        """`made` are the layers as they are now, with names as in `base`."""
        self.base = base
        self._sites = [_Site(module, names, base) for module, names in made.items()]
        self._one, self._many = _Changes(self._sites), _Changes(self._sites)
        self._hooks: list[RemovableHandle] = []
        self._rows: Tensor | None = None
        self._changes = self._one

    def check(self, adapter: Adapter, name: str) -> None:
        """Raise `FlyThinkerError`, in which the adapter is called `name`, if it does not fit."""
        sizes = {
            layer: (site.inputs, size)
            for site in self._sites
            for layer, size in zip(site.names, site.sizes, strict=True)
        }
        for layer, (a, b) in adapter.changes.items():
            if layer not in sizes:
                if b.any():  # a layer whose weights some code reads by itself has learned nothing
                    raise FlyThinkerError(
                        f"{name}: {layer} does not read texts row by row, so that no text can "
                        "have its own; `flythinker write --adapter` changes it for all"
                    )
            elif (a.shape[1], b.shape[0]) != sizes[layer] or len(a) != b.shape[1]:
                raise FlyThinkerError(f"{name}: its {layer} has another size than this model's")

    def use(self, rows: list[Adapter | None]) -> None:
        """Say whose adapter each row has in the passes from now on."""
        adapters = [adapter for adapter in rows if adapter is not None]
        if not adapters:
            for hook in self._hooks:
                hook.remove()
            self._hooks = []
            return
        # a prompt is read alone, between two steps of all
        self._changes = self._one if len(rows) == 1 else self._many
        self._changes.hold(adapters)
        changed = [row for row, adapter in enumerate(rows) if adapter is not None]
        self._rows = None if len(changed) == len(rows) else torch.tensor(changed)
        self._hooks = self._hooks or [
            site.module.register_forward_hook(partial(self._add, number))
            for number, site in enumerate(self._sites)
        ]

    def _add(self, site: int, module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        """A layer's output [rows, T, out], to which each row adds its own changes."""
        a, b = self._changes.of(site)
        x = inputs[0].to(a.dtype)
        if self._changes is self._one:
            return output.add_(x @ a[0].T @ b[0])
        if self._rows is None:
            return output.add_(torch.bmm(torch.bmm(x, a.transpose(1, 2)), b))
        rows = self._rows.to(x.device)
        change = torch.bmm(torch.bmm(x.index_select(0, rows), a.transpose(1, 2)), b)
        return output.index_add_(0, rows, change.to(output.dtype))


class _Site:
    """A layer, and where in its output lies what an adapter names."""

    def __init__(self, module: nn.Module, names: tuple[str, ...], base: Base) -> None:
        linears = [base.linears[name] for name in names]
        self.module, self.names = module, names
        self.inputs, self.sizes = linears[0].inputs, [linear.outputs for linear in linears]
        self._device = linears[0].device
        # a CPU's small products of bf16 take up to three times as long
        self._dtype = torch.float32 if self._device.type == "cpu" else linears[0].dtype

    def zeros(self, adapters: int, rank: int) -> tuple[Tensor, Tensor]:
        """Room for A [adapters, R, in] and Bᵀ [adapters, R, out]; each name has `rank` rows."""
        a, b = (
            torch.zeros(
                (adapters, rank * len(self.names), size), device=self._device, dtype=self._dtype
            )
            for size in (self.inputs, sum(self.sizes))
        )
        return a, b

    def write(self, adapter: Adapter, a: Tensor, b: Tensor) -> None:
        """Lay out what `adapter` changes, in A [R, in] and Bᵀ [R, out]."""
        b.zero_()
        room, begin = len(a) // len(self.names), 0
        for row, name, size in zip(range(0, len(a), room), self.names, self.sizes, strict=True):
            if name in adapter.changes:
                down, up = adapter.changes[name]
                rows = slice(row, row + len(down))
                a[rows] = down
                b[rows, begin : begin + size] = adapter.about.scale * up.T
            begin += size


class _Changes:
    """Adapters side by side, as the layers multiply by them."""

    def __init__(self, sites: Sequence[_Site]) -> None:
        self._sites = sites
        self._adapters = self._rank = self._count = 0  # that there is room for; those in use
        self._sides: list[tuple[Tensor, Tensor]] = []
        self._held: list[Adapter] = []

    def hold(self, adapters: Sequence[Adapter]) -> None:
        """Lay `adapters` out in this order; those that lie there already stay."""
        rank = max(adapter.rank for adapter in adapters)
        if len(adapters) > self._adapters or rank > self._rank:
            if len(adapters) > self._adapters:
                self._adapters = max(len(adapters), 2 * self._adapters)
            self._rank = max(rank, self._rank)
            self._held, self._sides = [], []  # let go of before there is more
            self._sides = [site.zeros(self._adapters, self._rank) for site in self._sites]
        for place, adapter in enumerate(adapters):
            if place >= len(self._held) or self._held[place] is not adapter:
                for site, (a, b) in zip(self._sites, self._sides, strict=True):
                    site.write(adapter, a[place], b[place])
        self._held[: len(adapters)] = adapters
        self._count = len(adapters)

    def of(self, site: int) -> tuple[Tensor, Tensor]:
        """A [adapters, R, in] and Bᵀ [adapters, R, out] of a layer."""
        a, b = self._sides[site]
        return a[: self._count], b[: self._count]
