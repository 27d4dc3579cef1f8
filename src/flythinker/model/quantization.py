"""Weights in 4 or 8 bits by bitsandbytes: for parts that LoRA leaves as they are, and to serve."""

from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import nn
from transformers import BitsAndBytesConfig

Quantization = Literal["nf4", "int8"]

# heads are left out by transformers; the projection is ours, small, and trained whole
_WHOLE = ["lm_head", "projection"]


def quantization_config(kind: Quantization, dtype: torch.dtype) -> BitsAndBytesConfig:
    """What `from_pretrained` is to do with linear layers; `nf4` multiplies in `dtype`.

    Raises:
        ValueError: bitsandbytes is not installed.
    """
    if find_spec("bitsandbytes") is None:
        raise ValueError(f"quantization {kind} needs bitsandbytes: run `pip install bitsandbytes`")
    if kind == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=_WHOLE)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=_WHOLE,
    )


def keep_layout(model: nn.Module, training: bool) -> None:
    """Have 4-bit layers keep the order of their weights where another one would be wrong.

    On a CPU with AVX-512-BF16, bitsandbytes (0.50) reorders them when they are first read without
    gradients. Writing is faster for it, but layers whose sizes are no multiples of 32 and 64 fail,
    and what is trained afterwards, as after an evaluation, gets no gradients through them, without
    a word.
    """
    layer: Any
    for layer in model.modules():
        if getattr(layer, "support_avx512bf16_for_cpu", False):
            fits = layer.out_features % 32 == 0 and layer.in_features % 64 == 0
            layer.support_avx512bf16_for_cpu = fits and not training
