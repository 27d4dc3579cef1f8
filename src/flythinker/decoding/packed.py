"""Linear layers with their weights laid out once as oneDNN reads them (CPU).

A plain linear layer of few tokens reads its weights far below the speed of memory; in bf16 it lays
them out anew each time. The packed layout is what freezing in torch.compile makes, uncompiled.
"""

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
def pack(model: nn.Module) -> None:
    """Replace every linear layer on the CPU, in float32 or bf16, by a packed one."""
    if not torch.backends.mkldnn.is_available():
        return
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Linear and _can_be_packed(child.weight):
                setattr(module, name, PackedLinear(child))


def _can_be_packed(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype in _DTYPES
