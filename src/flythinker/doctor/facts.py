"""What there is: the machine, the installed packages, the embedded weights and texts."""

import os
import platform
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import metadata, version
from pathlib import Path
from typing import Any

from flythinker.doctor.gpus import Gpu, gpus
from flythinker.doctor.installed import Embedded, Package, embedded, packages
from flythinker.errors import one_line
from flythinker.limits import cpu_limit, memory_limit, usable_cpus

_SHOWN_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "ATEN_CPU_CAPABILITY",
    "ONEDNN_MAX_CPU_ISA",
    "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "HF_HOME",
    "HF_HUB_OFFLINE",
    "FLYTHINKER_CACHE",
)


@dataclass(frozen=True)
class Processor:
    """`usable` CPUs are those that affinity and control groups leave to this process."""

    name: str
    architecture: str
    instruction_sets: list[str]
    cores: int | None
    cpus: int | None
    usable: float
    limit: float | None
    load: float | None


@dataclass(frozen=True)
class Memory:
    """In bytes; `total` and `available` are within the control group's `limit`."""

    total: int
    available: int
    limit: int | None


@dataclass(frozen=True)
class Threads:
    """Of torch, within an operation and between operations; and the variables that steer it all."""

    within: int
    between: int
    environment: dict[str, str]


@dataclass(frozen=True)
class Folder:
    """A folder that is written to; it need not exist yet.

    `content` says what is in it; the cache is `ready` when it holds the embedded backbone.
    """

    path: str
    free_bytes: int
    writable: bool
    content: str
    ready: bool = False


@dataclass
class Facts:
    """All of it. What could not be found is `None`, and `unknown` says why."""

    flythinker: str = ""
    python: str = platform.python_version()
    python_supported: str | None = None
    system: str = platform.platform()
    torch_build: str | None = None
    processor: Processor | None = None
    gpus: list[Gpu] | None = None
    memory: Memory | None = None
    threads: Threads | None = None
    packages: list[Package] | None = None
    embedded: list[Embedded] | None = None
    folders: dict[str, Folder] | None = None
    unknown: dict[str, str] = field(default_factory=dict)


def collect() -> Facts:
    """Find everything; what cannot be found ends nothing."""
    facts = Facts()
    searches: dict[str, Callable[[], Any]] = {
        "flythinker": lambda: version("flythinker"),
        "python_supported": lambda: metadata("flythinker")["Requires-Python"],
        "packages": packages,  # first: it finds what of torch and transformers cannot be imported
        "torch_build": torch_build,
        "processor": processor,
        "gpus": gpus,
        "memory": memory,
        "threads": threads,
        "embedded": embedded,
        "folders": folders,
    }
    for name, search in searches.items():
        try:
            setattr(facts, name, search())
        except Exception as error:
            facts.unknown[name] = one_line(error)
    return facts


def processor() -> Processor:
    """The CPU, also where there is an accelerator."""
    import psutil

    name, instruction_sets = platform.processor() or platform.machine(), []
    with suppress(Exception):  # it asks torch; where that is broken, `packages` says so
        from flythinker.hardware import processor as as_torch_uses_it

        name = as_torch_uses_it().name
        instruction_sets = list(as_torch_uses_it().instruction_sets)
    return Processor(
        name,
        platform.machine(),
        instruction_sets,
        psutil.cpu_count(logical=False),
        psutil.cpu_count(),
        usable_cpus(),
        cpu_limit(),
        os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    )


def torch_build() -> str:
    """What this torch computes on beside the CPU: CUDA, ROCm, Metal or nothing."""
    import torch

    if torch.version.hip:
        return f"ROCm {torch.version.hip}"
    if torch.version.cuda:
        return f"CUDA {torch.version.cuda}"
    return "Metal" if torch.backends.mps.is_built() else "CPU only"


def memory() -> Memory:
    """Of the machine, or what the control group leaves of it."""
    import psutil

    found, limit = psutil.virtual_memory(), memory_limit()
    most = min(found.total, limit or found.total)
    return Memory(most, min(found.available, most), limit)


def threads() -> Threads:
    """What torch took from the machine and from the environment."""
    import torch

    set_here = {name: os.environ[name] for name in _SHOWN_VARIABLES if name in os.environ}
    return Threads(torch.get_num_threads(), torch.get_num_interop_threads(), set_here)


def folders() -> dict[str, Folder]:
    """Where models are kept between runs, and where this command was started."""
    from flythinker.backbones.packaged import DEFAULT_BACKBONE
    from flythinker.files import user_cache

    root = user_cache()
    name = DEFAULT_BACKBONE
    ready = (root / name / "config.json").exists()
    kept = f"{name} is ready" if ready else f"{name} comes here at its first use, 0.5 GB"
    found = {
        "cache": _folder(root, kept, ready),
        "here": _folder(Path.cwd(), "runs are written here"),
    }
    try:
        from huggingface_hub.constants import HF_HUB_CACHE

        hub = Path(HF_HUB_CACHE)
        models = len(list(hub.glob("models--*")))
        found["hub"] = _folder(hub, f"{models} models of the Hugging Face Hub")
    except ImportError:
        pass  # one of `packages`
    return found


def _folder(path: Path, content: str, ready: bool = False) -> Folder:
    existing = next(one for one in (path, *path.absolute().parents) if one.exists())
    free = shutil.disk_usage(existing).free
    return Folder(_shortened(path), free, os.access(existing, os.W_OK), content, ready)


def _shortened(path: Path) -> str:
    """With ~ for the home folder: what is shown here is meant to be pasted into an issue."""
    home = Path.home()
    return str("~" / path.relative_to(home)) if path.is_relative_to(home) else str(path)
