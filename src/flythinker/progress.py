"""How far long work is: a bar in a terminal, and in a log a line about every half minute.

train  120/400  loss 3.213  2.1 s/step  9 min left
"""

import os
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from threading import Event, Thread
from typing import Self, TypeVar

from rich import progress
from rich.console import Console

T = TypeVar("T")

FIRST_LINE = 5.0
"""Seconds until the first line; what is done before gets no line at all."""
BETWEEN_LINES = 30.0
"""Seconds between lines."""
_WINDOW = 60.0
"""Seconds, and the fewest steps, whose mean says how long the rest takes."""
_WINDOW_STEPS = 10

_part: ContextVar[str] = ContextVar("part", default="")


def in_terminal() -> bool:
    """Whether standard error shows bars: a terminal or a notebook, not a file or a pipe.

    Not rich's `is_terminal`: `FORCE_COLOR`, which many CIs set, asks for colours and not for bars.
    """
    return sys.stderr.isatty() or Console(stderr=True).is_jupyter


def track(
    items: Iterable[T],
    about: str,
    total: int | None = None,
    done: int = 0,
    unit: str = " each",
    transient: bool = False,
) -> Iterator[T]:
    """Yield the items, and show on standard error how far they are.

    Of several processes that train together only the first shows it.

    Args:
        items: what is to do.
        about: what is being done, a word or a few.
        total: how many items in all, those done before included; default: the items' length, and
            if they have none, what is left stays unsaid.
        done: so many were done before, by a run that was stopped.
        unit: what follows the seconds of an item in a line, such as `/batch`.
        transient: the bar leaves no trace in the terminal.
    """
    if total is None and isinstance(items, Sized):
        total = done + len(items)
    if os.environ.get("RANK", "0") != "0":  # of every launcher
        yield from items
    elif in_terminal():
        console = Console(stderr=True)
        yield from progress.track(
            items, about, total, completed=done, console=console, transient=transient
        )
    else:
        with Lines(about, total, done, unit) as lines:
            for item in items:
                yield item
                lines.advance(lines.done + 1)


@contextmanager
def part(title: str) -> Iterator[None]:
    """What is tracked inside belongs to this part of something longer, such as "3 of 10: SFT".

    A rule with the title in a terminal; in a log a line, and the title before each line inside.
    """
    if in_terminal():
        Console(stderr=True).rule(title)
        yield
        return
    _print(title)
    outer = _part.set(f"[{title}]  ")
    try:
        yield
    finally:
        _part.reset(outer)


class Lines:
    """The lines about one piece of work; a thread prints them, however long a step takes.

    As a context it ends with the work, and an error is no end worth a line.

    Attributes:
        note: stands in each line after the steps, such as the loss.
    """

    def __init__(self, about: str, total: int | None, done: int = 0, unit: str = " each") -> None:
        """As in `track`."""
        self.about, self.total, self.unit = _part.get() + about, total, unit
        self.note = ""
        self._begun = time.monotonic()
        # when so many steps were done: the newest ones, a second apart or more
        self._marks = deque([(self._begun, done)])
        self._paused = False
        self._ended = Event()
        Thread(target=self._print_until_ended, name="progress", daemon=True).start()

    @property
    def done(self) -> int:
        """Steps that are done."""
        return self._marks[-1][1]

    def advance(self, done: int) -> None:
        """So many steps are done now, those of a run that was stopped before included."""
        now, marks = time.monotonic(), self._marks
        if len(marks) > 1 and now - marks[-2][0] < 1:
            marks[-1] = (now, done)
        else:
            marks.append((now, done))
        while len(marks) > 1 + _WINDOW_STEPS and now - marks[1][0] > _WINDOW:
            marks.popleft()

    def pause(self) -> None:
        """Print nothing until `go_on`: something else is being done."""
        self._paused = True

    def go_on(self) -> None:
        """Print again; the time since `pause` is no step's."""
        self._marks = deque([(time.monotonic(), self.done)])
        self._paused = False

    def end(self, finished: bool = True) -> None:
        """Print nothing more, but a last line if the work is finished and took a while."""
        self._ended.set()
        taken = time.monotonic() - self._begun
        if finished and taken >= FIRST_LINE:
            self._print(f"done in {duration(taken)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.end(finished=kind is None)

    def _print_until_ended(self) -> None:
        wait = FIRST_LINE
        while not self._ended.wait(wait):
            if not self._paused:
                self._print(*self._pace())
            wait = BETWEEN_LINES

    def _pace(self) -> list[str]:
        """Seconds a step and what is left; the time it has taken, before any step is done."""
        (since, first), (until, last) = self._marks[0], self._marks[-1]
        now = time.monotonic()
        if last == first:
            return [f"{duration(now - self._begun)} so far"]
        seconds = (until - since) / (last - first)
        digits = ".0f" if seconds >= 10 else ".2g"
        pace = [f"{seconds:{digits}} s{self.unit}"]
        if self.total is not None:
            left = max(0.0, seconds * (self.total - last) - (now - until))
            pace.append(f"{duration(left)} left")
        return pace

    def _print(self, *pace: str) -> None:
        steps = f"{self.done}" if self.total is None else f"{self.done}/{self.total}"
        _print("  ".join(word for word in (self.about, steps, self.note, *pace) if word))


def duration(seconds: float) -> str:
    """`40 s`, `9 min` or `2 h 5 min`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _print(line: str) -> None:
    with suppress(OSError):  # a full disk or a reader that left ends no work
        print(line, file=sys.stderr, flush=True)
