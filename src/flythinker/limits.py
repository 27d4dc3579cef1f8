"""What a container may use of its machine: limits of control groups, and of CPU affinity."""

import os
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def cpu_limit(root: Path = _ROOT, own: Path = _OWN) -> float | None:
    """CPUs' time that the control groups of this process allow; `None`: as much as there is."""
    limits = []
    for folder in _groups(root, own, "cpu"):
        version_2 = _words(folder / "cpu.max") or ["max"]
        quota = _words(folder / "cpu.cfs_quota_us") or version_2[:1]
        period = _words(folder / "cpu.cfs_period_us") or version_2[1:]
        if quota[0].isdigit() and period:  # "max" and "-1" are no limits
            limits.append(int(quota[0]) / int(period[0]))
    return min(limits, default=None)


def memory_limit(root: Path = _ROOT, own: Path = _OWN) -> int | None:
    """Bytes that the control groups of this process allow; `None`: as many as there are."""
    limits = []
    for folder in _groups(root, own, "memory"):
        words = _words(folder / "memory.max") or _words(folder / "memory.limit_in_bytes")
        if words and words[0].isdigit() and int(words[0]) < 2**60:  # version 1's "no limit"
            limits.append(int(words[0]))
    return min(limits, default=None)


def free_memory() -> int:
    """Bytes that this process may still take: of the machine, and of what its groups allow."""
    import psutil  # here: where it is broken, `doctor` still tells the rest

    limit, free = memory_limit(), psutil.virtual_memory().available
    return free if limit is None else min(free, limit - psutil.Process().memory_info().rss)


def usable_cpus() -> float:
    """CPUs that this process may use: by affinity and by control groups."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cpus, cpu_limit() or cpus)


def _groups(root: Path, own: Path, controller: str) -> Iterator[Path]:
    """Folders of the process's control group and of all above it, version 2 and 1.

    In a container its own group is often mounted as the root, so the root counts as well.
    """
    lines = own.read_text().splitlines() if own.exists() else []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = root / controller if controllers else root
        group = top / path.lstrip("/")
        yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(top))


def _words(file: Path) -> list[str]:
    return file.read_text().split() if file.is_file() else []
