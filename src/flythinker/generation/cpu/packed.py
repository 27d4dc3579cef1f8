"""Linear layers with their weights laid out once as oneDNN reads them (CPU).

A plain linear layer of few tokens reads its weights far below the speed of memory; in bf16 it lays
them out anew each time. The packed layout is what freezing in torch.compile makes, uncompiled.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

_DTYPES = (torch.float32, torch.bfloat16)


class PackedLinear(nn.Module):
    """Computes what the `nn.Linear` it is made from does; for inference only, and not saved."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight = linear.weight.detach()
        # no parameter: the layout is oneDNN's own and nothing but its operators can read it
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight, 1)
        self.bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        """[..., in_features] → [..., out_features]."""
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")


@torch.no_grad()
def pack(model: nn.Module, linear: Callable[[nn.Linear], nn.Module] = PackedLinear) -> None:
    """Replace every linear layer on the CPU, in float32 or bf16, by what `linear` makes of it."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Linear and can_be_packed(child):
                setattr(module, name, linear(child))


def can_be_packed(layer: nn.Linear) -> bool:
    """Whether a layer is on the CPU, in a type that oneDNN has a layout for."""
    weight = layer.weight
    on_cpu = weight.device.type == "cpu" and torch.backends.mkldnn.is_available()
    return on_cpu and weight.dtype in _DTYPES
