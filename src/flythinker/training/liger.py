"""Liger's fused loss (pip install liger-kernel), where `training.use_liger_kernel` asks for it."""

import os
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from flythinker.errors import FlyThinkerError
from flythinker.model.loss import can_be_chunked


def use_liger_loss(model: Any, device: torch.device) -> None:
    """Have `model` take its loss without logits by Liger's kernel, which gives the same.

    `model` may be wrapped by PEFT. Liger's other kernels are not used: it patches whole families,
    and ours is none that it knows.

    Raises:
        FlyThinkerError: Liger is not installed or cannot run here, or the Generator's loss needs
            all logits.
    """
    if find_spec("liger_kernel") is None:
        raise FlyThinkerError("training.use_liger_kernel: run `pip install liger-kernel`")
    if device.type == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        raise FlyThinkerError("training.use_liger_kernel: Liger's kernels need a GPU")
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    if not can_be_chunked(base.generator):
        family = base.generator.config.model_type
        raise FlyThinkerError(
            f"training.use_liger_kernel: the loss of {family} needs its logits, which Liger's "
            "fused loss does not make"
        )
    base.summed_loss = liger_cross_entropy


def liger_cross_entropy(rows: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """As `summed_cross_entropy`."""
    from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

    # the head's gradient is summed over chunks: in float32, as ours
    loss = LigerFusedLinearCrossEntropyLoss(reduction="sum", accum_dtype=torch.float32)
    return loss(weight, rows, targets)
