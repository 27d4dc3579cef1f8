"""Both parts at the same time: in a decode step neither needs what the other computes.

The Generator adds the thought about a token's *predecessor* (paper, Eq. 5), which the step before
has made; the Reasoner makes the one for the step after.
"""

import ctypes
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from statistics import median
from typing import Any, Literal

import torch
from torch import Tensor, nn

Mode = Literal["auto", "on", "off"]

_TRIED = 6  # steps of each way before "auto" chooses; the first of them does not count
_SOFT = 1  # omp_pause_soft: threads end, settings stay
try:
    _OPENMP: ctypes.CDLL | None = ctypes.CDLL("libgomp.so.1")  # that of torch, loaded already
except OSError:
    _OPENMP = None
_Step = Callable[[], Tensor]


class Parallel:
    """Runs the two passes of a decode step together, or one after the other.

    Together means two threads: on the CPU with half of the intra-op threads each until the Reasoner
    is done, on a GPU with a stream of its own for the Reasoner. Whether that is faster depends on
    how much one pass alone leaves of the machine, so "auto" times the first steps of each batch
    size both ways and stays with the faster. The results are the same.
    """

    def __init__(self, mode: Mode = "auto", layers: Iterable[nn.Module] = ()) -> None:
        """`layers` are the Generator's: before each it looks whether the Reasoner is done.

        Raises `ValueError` for an unknown mode.
        """
        if mode not in ("auto", "on", "off"):
            raise ValueError(f'parallel is "auto", "on" or "off", not {mode!r}')
        self.mode = mode
        self._worker = ThreadPoolExecutor(1, "reasoner") if mode != "off" else None
        self._thinking: Future[Tensor] | None = None
        self._threads = torch.get_num_threads()
        if mode != "off":
            for layer in layers:
                layer.register_forward_pre_hook(self._take_back)
        self._seconds: dict[int, dict[bool, list[float]]] = defaultdict(
            lambda: {True: [], False: []}
        )

    def __call__(self, think: _Step, write: _Step, rows: int) -> tuple[Tensor, Tensor]:
        """What `think` and `write` return, for a batch of `rows` texts."""
        together = self.together(rows)
        seconds = self._seconds[rows][together]
        if self.mode != "auto" or len(seconds) >= _TRIED:
            return self._run(think, write, together)
        begun = time.perf_counter()
        results = self._run(think, write, together)
        if results[0].is_cuda:
            torch.cuda.synchronize(results[0].device)
        seconds.append(time.perf_counter() - begun)
        return results

    def together(self, rows: int) -> bool:
        """How the next step of `rows` texts will run."""
        if self.mode != "auto":
            return self.mode == "on"
        apart, together = self._seconds[rows][False], self._seconds[rows][True]
        if len(apart) < _TRIED or len(together) < _TRIED:
            return len(together) < len(apart)
        return median(together[1:]) < median(apart[1:])

    def _run(self, think: _Step, write: _Step, together: bool) -> tuple[Tensor, Tensor]:
        if not together or self._worker is None:
            return think(), write()
        self._threads = torch.get_num_threads()
        share = max(1, self._threads // 2)
        stream = torch.cuda.current_stream() if torch.cuda.is_available() else None
        _end_idle_threads()
        torch.set_num_threads(share)
        thinking = self._thinking = self._worker.submit(_apart, think, share, stream)
        try:
            written = write()
            thoughts = thinking.result()
        finally:
            thinking.exception()  # waits: a pass that goes on would meet the next one's
            torch.set_num_threads(self._threads)
            self._thinking = None
        return thoughts, written

    def _take_back(self, *_: Any) -> None:
        """Where the Reasoner is done first, the Generator goes on with all threads."""
        if self._thinking is not None and self._thinking.done():
            torch.set_num_threads(self._threads)
            self._thinking = None


def _end_idle_threads() -> None:
    """End the OpenMP threads of the caller; the next parallel operation starts them anew.

    GNU's wait for more work by spinning, some milliseconds long, on the core that the Reasoner's
    thread is to use.
    """
    if _OPENMP is not None:
        _OPENMP.omp_pause_resource_all(_SOFT)


@torch.inference_mode()
def _apart(think: _Step, threads: int, caller: torch.cuda.Stream | None) -> Tensor:
    """The Reasoner's pass in its own thread; `caller` is the stream that will use the thoughts."""
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    if caller is None:
        return think()
    own = torch.cuda.Stream(caller.device)
    own.wait_stream(caller)
    with torch.cuda.stream(own):
        thoughts = think()
    thoughts.record_stream(caller)
    caller.wait_stream(own)
    return thoughts
