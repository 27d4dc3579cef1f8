"""How much memory a process has taken at most."""

import re
import resource
import sys
from pathlib import Path

import torch


def peak_gigabytes() -> float:
    """Of the accelerator, where there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    status = Path("/proc/self/status")
    if status.exists():  # a child's `ru_maxrss` begins with its parent's
        kibibytes = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        if kibibytes:
            return int(kibibytes[1]) * 1024 / 1e9
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e9 if sys.platform == "darwin" else 1e6)
