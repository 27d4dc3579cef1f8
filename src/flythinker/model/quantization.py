"""Weights in 4 or 8 bits by bitsandbytes: for parts that LoRA leaves as they are, and to serve."""

from importlib.util import find_spec
from typing import Literal

import torch
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
