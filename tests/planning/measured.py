"""Run as a program: the bytes that real optimizer steps take at most, to compare with a plan.

python measured.py CONFIG ROW_TOKENS LEARNED_TOKENS
"""

import ctypes
import gc
import os
import re
import sys
from pathlib import Path

import torch

from flythinker.bench.train import Stepper
from flythinker.training.config import load_config
from flythinker.training.trainer import checkpoint_activations

_MMAP_THRESHOLD = -3
"""glibc's: tensors of more bytes are given back when they are freed, and leave no holes."""


def resident(name: str) -> int:
    """`VmRSS`, what this process holds now, or `VmHWM`, what it held at most; bytes."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def main(config: str, row_tokens: int, learned: int) -> None:
    libc = ctypes.CDLL(None)
    libc.mallopt(_MMAP_THRESHOLD, 2**16)
    stepper = Stepper(load_config(config))
    arguments = stepper.trainer.args
    if arguments.gradient_checkpointing:
        checkpoint_activations(stepper.model)

    def batch(tokens: int, learned: int) -> dict[str, torch.Tensor]:
        ids = torch.randint(3, 100, (arguments.per_device_train_batch_size, tokens))
        labels = ids.clone()
        labels[:, : tokens - learned] = -100
        prompts = torch.full((len(ids),), tokens - learned)
        mask = torch.ones_like(ids)
        return {
            "input_ids": ids,
            "labels": labels,
            "attention_mask": mask,
            "prompt_length": prompts,
        }

    stepper.seconds(batch(16, 8))  # now the optimizer has its numbers, and libraries what they keep
    gc.collect()
    libc.malloc_trim(0)
    states = [v for state in stepper.optimizer.state.values() for v in state.values()]
    kept = sum(t.numel() * t.element_size() for t in [*stepper.model.parameters(), *states])
    others = resident("VmRSS") - kept
    Path("/proc/self/clear_refs").write_text("5")  # loading may have taken more than a step
    stepper.seconds(batch(row_tokens, learned))
    print(resident("VmHWM") - others)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
