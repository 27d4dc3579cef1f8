"""Adapters that have learned nothing and change much."""

import copy

import torch

from flythinker.adapter import About, Adapter, fingerprint, layers_to_adapt, merge_adapter


def random_adapter(model, part="reasoner", seed=0, rank=4, size=0.5) -> Adapter:
    """An adapter of `model`, another for each seed; `size` is of its changes beside weights'."""
    draw = torch.Generator().manual_seed(seed)
    changes = {}
    for name in layers_to_adapt(model, part):
        layer = model.get_submodule(name)
        out, inputs = layer.weight.shape
        if not isinstance(layer, torch.nn.Linear):
            out, inputs = inputs, out
        a = torch.randn(rank, inputs, generator=draw)
        b = torch.randn(out, rank, generator=draw)
        b *= size * float(layer.weight.detach().float().std()) / rank**0.5
        changes[name] = (a.bfloat16(), b.bfloat16())
    nothing = dict.fromkeys(("texts", "words", "held_out", "before", "after", "gain"), 0)
    about = About(
        f"person {seed}", part, fingerprint(model, part), 1.0,
        low=0, high=0, seconds=0, made="", **nothing,
    )  # fmt: skip
    return Adapter(about, changes)


def merged(model, adapter):
    """A copy of `model` with the adapter's changes in its weights, or without any."""
    model = copy.deepcopy(model)
    if adapter is not None:
        merge_adapter(model, adapter, "an adapter")
    return model
