"""Work on many texts in as many processes as there are cores."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from flythinker.progress import track

T = TypeVar("T")
R = TypeVar("R")

_PART = 500  # items that a process is given at a time


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_in_processes(
    work: Callable[[Sequence[T]], Sequence[R]], items: Sequence[T], about: str
) -> Iterator[R]:
    """What `work` makes of the items, in their order; of a few thousand, here in this process.

    Args:
        work: takes some items that follow each other, gives what it makes of each or of all; it
            is pickled, and so are items and results.
        items: what is to do.
        about: what is being done, for those who wait.
    """
    parts = [items[start : start + _PART] for start in range(0, len(items), _PART)]
    processes = min(cores(), len(parts) // 4)
    if processes < 2:
        for part in track(parts, about, transient=True):
            yield from work(part)
        return
    with ProcessPoolExecutor(processes) as pool:
        for results in track(pool.map(work, parts), about, total=len(parts), transient=True):
            yield from results
