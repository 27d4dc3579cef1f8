"""Linear layers with their weights laid out once as oneDNN reads them (CPU).

A plain linear layer of few tokens reads its weights far below the speed of memory; in bf16 it lays
them out anew each time. The packed layout is what freezing in torch.compile makes, uncompiled.
"""

from collections.abc import Callable, Collection

import torch
from torch import Tensor, nn

from flythinker.hardware import can_pack


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


def packed(linear: nn.Linear) -> nn.Module:
    """The layer packed; as it is elsewhere than on the CPU, or in a type not packed here."""
    on_cpu = linear.weight.device.type == "cpu"
    return PackedLinear(linear) if on_cpu and can_pack(linear.weight.dtype) else linear


@torch.no_grad()
def pack(
    model: nn.Module,
    linear: Callable[[nn.Linear], nn.Module] = packed,
    keep: Collection[nn.Module] = (),
) -> None:
    """Replace every linear layer but those to `keep` by what `linear` makes of it."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Linear and child not in keep:
                setattr(module, name, linear(child))
