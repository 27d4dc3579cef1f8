"""The layers of Llama-like models in as few operations as they need (CPU).

For one token a layer's arithmetic takes about as long as starting its operations one by one from
Python. Here queries, keys and values are one linear layer, gate and up are one, and a norm is one
operation: some 20 a layer in place of transformers' 180. What is computed is the same.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm, scaled_dot_product_attention, silu

from flythinker.generation.cache.slots import SlotCache

MakeLinear = Callable[[nn.Linear], nn.Module]
FAMILIES = ("llama", "qwen2", "qwen3")
MADE_OF = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "output": ("self_attn.o_proj",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}
"""A `FusedLayer`'s linear layers, and those of transformers whose outputs each gives in turn."""


class FusedLayer(nn.Module):
    """One decoder layer, made of a transformers layer's weights."""

    def __init__(self, layer: Any, eps: float, linear: MakeLinear) -> None:
        super().__init__()
        attention = layer.self_attn
        self.qkv, self.output, self.gate_up, self.down = (
            linear(_joined(*map(layer.get_submodule, names))) for names in MADE_OF.values()
        )
        self.norms = [
            layer.input_layernorm.weight.detach(),
            layer.post_attention_layernorm.weight.detach(),
        ]
        self.head_norms = [  # Qwen3's
            norm.weight.detach() if (norm := getattr(attention, name, None)) is not None else None
            for name in ("q_norm", "k_norm")
        ]
        self.head_dim: int = attention.head_dim
        self.scaling: float = attention.scaling
        self.key_heads = attention.k_proj.out_features // self.head_dim
        self.heads = attention.q_proj.out_features // self.head_dim
        self.eps = eps

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor, slots: Any) -> Tensor:
        """[n, T, d] → [n, T, d]; `slots` is the layer of a `SlotCache`."""
        normed = rms_norm(x, x.shape[-1:], self.norms[0], self.eps)
        x = x + self._attend(self.qkv(normed), cos, sin, mask, slots)
        normed = rms_norm(x, x.shape[-1:], self.norms[1], self.eps)
        gate, up = self.gate_up(normed).chunk(2, dim=-1)
        return x + self.down(silu(gate) * up)

    def _attend(self, qkv: Tensor, cos: Tensor, sin: Tensor, mask: Tensor, slots: Any) -> Tensor:
        batch, tokens, _ = qkv.shape
        heads = qkv.view(batch, tokens, -1, self.head_dim)
        turned = self._turn(heads[:, :, : -self.key_heads], cos, sin).transpose(1, 2)
        keys, values = slots.update(
            turned[:, self.heads :], heads[:, :, -self.key_heads :].transpose(1, 2)
        )
        groups = self.heads // self.key_heads
        output = scaled_dot_product_attention(
            turned[:, : self.heads].reshape(batch, self.key_heads, groups * tokens, self.head_dim),
            keys,
            values,
            attn_mask=mask if tokens == 1 or groups == 1 else mask.repeat(1, 1, groups, 1),
            scale=self.scaling,
        )
        output = output.reshape(batch, self.heads, tokens, self.head_dim).transpose(1, 2)
        return self.output(output.reshape(batch, tokens, -1))

    def _turn(self, heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Rotary positions of queries and keys together, [n, T, heads, head_dim]."""
        if self.head_norms[0] is not None:
            parts = heads.split([self.heads, self.key_heads], dim=2)
            pairs = zip(parts, self.head_norms, strict=True)
            heads = torch.cat(
                [rms_norm(part, part.shape[-1:], weight, self.eps) for part, weight in pairs], dim=2
            )
        half = self.head_dim // 2
        swapped = torch.cat([-heads[..., half:], heads[..., :half]], dim=-1)
        return heads * cos + swapped * sin


class FusedBackbone(nn.Module):
    """The layers and the final norm of a Llama-like backbone over a `SlotCache`."""

    def __init__(self, backbone: Any, linear: MakeLinear) -> None:
        """`linear` makes the layers' linear layers, see `packed`."""
        super().__init__()
        eps = backbone.config.rms_norm_eps
        self.layers = nn.ModuleList(FusedLayer(layer, eps, linear) for layer in backbone.layers)
        self.rotary = backbone.rotary_emb
        self.norm = backbone.norm.weight.detach()
        self.eps = eps

    def made_of(self) -> dict[nn.Module, tuple[str, ...]]:
        """Its linear layers, and the names in the backbone of those that each is made of."""
        return {
            getattr(layer, own): tuple(f"layers.{number}.{name}" for name in names)
            for number, layer in enumerate(self.layers)
            for own, names in MADE_OF.items()
        }

    def forward(self, embeds: Tensor, columns: Tensor, mask: Tensor, cache: SlotCache) -> Tensor:
        """Last hidden states [n, T, d] of `embeds` at `columns` [n, T]; `mask` [n, 1, T, L]."""
        cos, sin = (part[:, :, None] for part in self.rotary(embeds, columns))
        x = embeds
        for layer, slots in zip(self.layers, cache.layers, strict=True):
            x = layer(x, cos, sin, mask, slots)
        return rms_norm(x, x.shape[-1:], self.norm, self.eps)


def can_be_fused(part: Any) -> bool:
    """Whether a part is of a family that is known here, on the CPU, with plain settings."""
    config = part.config
    return (
        config.model_type in FAMILIES
        and set(getattr(config, "layer_types", None) or ["full_attention"]) == {"full_attention"}
        and not getattr(config, "sliding_window", None)
        and part.device.type == "cpu"
        and getattr(config, "hidden_act", "silu") == "silu"
        # rounded weights cannot be joined
        and all(type(each) is nn.Linear for each in part.modules() if isinstance(each, nn.Linear))
    )


def _joined(*layers: nn.Linear) -> nn.Linear:
    """One linear layer that computes several side by side."""
    if len(layers) == 1:
        return layers[0]
    weight = torch.cat([layer.weight.detach() for layer in layers])
    joined = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    joined.weight = nn.Parameter(weight, requires_grad=False)
    if layers[0].bias is not None:
        bias = torch.cat([layer.bias.detach() for layer in layers])
        joined.bias = nn.Parameter(bias, requires_grad=False)
    return joined
