"""What stands in for kernels in a simulated step: attention and quantized layers.

Each makes and keeps tensors of the sizes that the real one does; their values mean nothing.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.flop_counter import sdpa_backward_flop_count, sdpa_flop_count

BYTES_A_NUMBER = {"nf4": 0.5 + 1 / 64 + 4 / (64 * 256), "int8": 1.0}
"""Of bitsandbytes: nf4 with a scale of 8 bits for 64 numbers and a float32 for 256 of those."""


def streamed(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, **kwargs: Any
) -> tuple[Tensor, None]:
    """Attention that keeps its inputs, its output and one number a row, as fused kernels do."""
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    output = attend(query, key, value, 0.0, True)[0]
    return output.transpose(1, 2).contiguous(), None


def eager(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, **kwargs: Any
) -> tuple[Tensor, None]:
    """Attention as transformers' `eager` computes it, with all scores."""
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    scores = torch.matmul(query, key.transpose(2, 3)) * (kwargs.get("scaling") or 1.0)
    causal = torch.zeros(1, 1, query.shape[2], key.shape[2], dtype=query.dtype)
    scores = nn.functional.softmax(scores + causal, dim=-1, dtype=torch.float32).to(query.dtype)
    return torch.matmul(scores, value).transpose(1, 2).contiguous(), None


def _forward_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _backward_flops(upstream: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_backward_flop_count(upstream, query, key, value)


ATTENTION_FLOPS = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _forward_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _backward_flops,
}
"""For `FlopCounterMode`, which does not know the kernel of `streamed`."""


class QuantizedLinear(nn.Linear):
    """A frozen linear layer whose weight is whole only while it is multiplied."""

    def __init__(self, linear: nn.Linear, kind: str) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=False, device="meta")
        self.bias = linear.bias
        held = int(linear.weight.numel() * BYTES_A_NUMBER[kind])
        rounded = torch.empty(held, dtype=torch.uint8, device="meta")
        self.weight = nn.Parameter(rounded, requires_grad=False)
        self.weight.numbers = linear.weight.numel()  # type: ignore[attr-defined]

    def forward(self, x: Tensor) -> Tensor:
        """[..., in_features] → [..., out_features]."""
        whole = (self.out_features, self.in_features)
        output = _Multiply.apply(x, self.weight, whole)
        return output if self.bias is None else output + self.bias


class _Multiply(torch.autograd.Function):
    """The weight is made whole in each direction and kept in neither."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, whole: tuple[int, int]) -> Tensor:
        ctx.whole = whole
        if torch.is_autocast_enabled("cpu"):
            x = x.to(torch.get_autocast_dtype("cpu"))
        return nn.functional.linear(x, torch.empty(whole, dtype=x.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        return upstream @ torch.empty(ctx.whole, dtype=upstream.dtype), None, None


def quantize(model: Any, kind: str) -> None:
    """Replace the linear layers that bitsandbytes would: all but heads and the projection."""
    kept = [model.get_output_embeddings(), model.projection]
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Linear and not any(child is one for one in kept):
                setattr(module, name, QuantizedLinear(child, kind))
