"""A training in several processes: who does what once, and what happens when one is lost."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from transformers import Trainer

from flythinker.errors import FlyThinkerError

# how gloo and NCCL say that the other end is gone
_LOST = ("gloo", "nccl", "connection", "socket", "peer")


@contextmanager
def explained_loss() -> Iterator[None]:
    """Turn what a collective raises when another process is gone into one clear line.

    Raises:
        FlyThinkerError: in place of that.
    """
    try:
        yield
    except RuntimeError as error:  # also torch's DistBackendError
        if not torch.distributed.is_initialized():
            raise
        if not any(word in str(error).lower() for word in _LOST):
            raise
        raise FlyThinkerError(
            "another process of this training is gone (its own message says why, if it could "
            "write one): run the same command again, it goes on from the last checkpoint"
        ) from error


def whole_state(trainer: Trainer) -> dict[str, Tensor] | None:
    """The weights of a model whose parts lie in several processes; `None` where all have all.

    Every process must call it; only the first gets all tensors, on the CPU.
    """
    if not trainer.is_fsdp_enabled and not trainer.is_deepspeed_enabled:
        return None
    return trainer.accelerator.get_state_dict(trainer.model_wrapped)
