"""The accelerators that torch sees, or, where it sees none, those that the system does."""

import platform
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Gpu:
    """An accelerator; `used` is whether this torch can compute on it."""

    name: str
    driver: str | None
    used: bool
    memory_bytes: int | None = None
    architecture: str | None = None


def gpus() -> list[Gpu]:
    """Those that torch sees; if it sees none, those that the system does."""
    return list(_torch_gpus()) or list(_system_gpus())


def _torch_gpus() -> Iterator[Gpu]:
    try:
        import torch
    except Exception:  # `packages` says why
        return
    if torch.backends.mps.is_available():
        yield Gpu(f"{platform.processor()} GPU (Metal)", platform.mac_ver()[0], True)
    if not torch.cuda.is_available():
        return
    driver = _amd_driver() if torch.version.hip else _nvidia_driver()
    for index in range(torch.cuda.device_count()):
        found = torch.cuda.get_device_properties(index)
        kind = getattr(found, "gcnArchName", None) or f"sm_{found.major}{found.minor}"
        yield Gpu(found.name, driver, True, found.total_memory, kind)


def _system_gpus() -> Iterator[Gpu]:
    for line in _nvidia_smi("name,driver_version"):
        name, driver = (part.strip() for part in line.rsplit(",", 1))
        yield Gpu(name, driver, False)
    if Path("/dev/kfd").exists():
        yield Gpu("AMD GPU", _amd_driver(), False)


def _nvidia_driver() -> str | None:
    return next(iter(_nvidia_smi("driver_version")), None)


def _amd_driver() -> str | None:
    file = Path("/sys/module/amdgpu/version")
    return file.read_text().strip() if file.exists() else None


def _nvidia_smi(query: str) -> list[str]:
    """One line a GPU; none where the program is not there, or finds no GPU."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, f"--query-gpu={query}", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return done.stdout.strip().splitlines() if done.returncode == 0 else []
