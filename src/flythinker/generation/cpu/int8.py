"""Linear layers with 8-bit weights, one scale an output (CPU): half of bf16's bytes a token.

They save time in bf16 only, where torch has a kernel (see `can_use_int8`). Elsewhere the rounded
weights are multiplied in the layer's own type, which writes the same and saves nothing.

Activations stay as they are. torchao's own int8 layers compute by such a kernel only when compiled;
uncompiled they unpack all weights at each call (95 ms a token of SmolLM2-135M where bf16 takes 52).
"""

import torch
from torch import Tensor, nn

from flythinker.errors import FlyThinkerError
from flythinker.generation.cpu.packed import packed
from flythinker.hardware import can_use_int8


def round_to_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A weight [out, in] as int8 and the scale [out] of its rows, of the weight's type."""
    scale = (weight.float().abs().amax(dim=1) / 127).clamp_min(1e-12).to(weight.dtype)
    rounded = (weight.float() / scale.float()[:, None]).round().clamp(-127, 127)
    return rounded.to(torch.int8), scale


class Int8Linear(nn.Module):
    """An `nn.Linear` with its weight rounded to 8 bits; for inference only, and not saved.

    One row is multiplied by the 8-bit weight itself. More rows at once are bound by arithmetic,
    where 8 bits save nothing: they go through the rounded weight in the layer's own type, packed.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.scale = round_to_int8(linear.weight.detach())
        self.bias = None if linear.bias is None else linear.bias.detach()
        self.many_rows = packed(rounded_linear(linear))

    def forward(self, x: Tensor) -> Tensor:
        """[..., in_features] → [..., out_features]."""
        if x.numel() > self.in_features:
            return self.many_rows(x)
        rows = torch._weight_int8pack_mm(x.reshape(1, -1), self.weight, self.scale)
        output = rows.view(*x.shape[:-1], self.out_features)
        return output if self.bias is None else output + self.bias


def int8_linear(linear: nn.Linear) -> nn.Module:
    """The layer as an `Int8Linear`; where the kernel lacks, as a layer of the rounded weight.

    Raises `FlyThinkerError` for a layer that is not on the CPU.
    """
    if linear.weight.device.type != "cpu":
        raise FlyThinkerError(
            "8-bit layers are for the CPU; elsewhere load the part with a "
            "`quantization_config` of transformers"
        )
    if can_use_int8(linear.weight.dtype):
        return Int8Linear(linear)
    return packed(rounded_linear(linear))


def rounded_linear(linear: nn.Linear) -> nn.Linear:
    """The layer with its weight rounded to 8 bits and back, in its own type."""
    weight, scale = round_to_int8(linear.weight.detach())
    rounded = nn.Linear(linear.in_features, linear.out_features, bias=False, device="meta")
    rounded.weight = nn.Parameter(weight.to(scale.dtype) * scale[:, None], requires_grad=False)
    rounded.bias = linear.bias
    return rounded
