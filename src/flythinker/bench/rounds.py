"""Alternating rounds: what is compared runs in turn, so that a slow minute slows all alike."""

import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch
import transformers
from rich.table import Table

from flythinker.hardware import processor
from flythinker.progress import track


@dataclass(frozen=True)
class Ratio:
    """A ratio of medians over rounds; `low` and `high` are the extremes of single rounds."""

    value: float
    low: float
    high: float
    rounds: int


Rounds = dict[str, list[float]]
"""Seconds of each contestant by round."""


def alternate(contestants: Mapping[str, Callable[[], float]], rounds: int) -> Rounds:
    """Call each contestant once a round, in order, after one round that does not count."""
    for measure in contestants.values():
        measure()
    seconds: Rounds = {name: [] for name in contestants}
    turns = [name for _ in range(rounds) for name in contestants]
    for name in track(turns, "Measuring"):
        seconds[name].append(contestants[name]())
    return seconds


def ratio(ours: list[float], theirs: list[float]) -> Ratio:
    """Ours over theirs, round by round in the same run."""
    each = [a / b for a, b in zip(ours, theirs, strict=True)]
    return Ratio(median(ours) / median(theirs), min(each), max(each), len(each))


def describe_machine() -> dict[str, Any]:
    """What the figures depend on and nobody can see in them."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "machine": gpu or f"{os.cpu_count()} CPU cores, {torch.backends.cpu.get_cpu_capability()}",
        "processor": processor().name,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def figures_table(title: str, figures: Mapping[str, Any]) -> Table:
    """Figures for the terminal: ratios with the range of single rounds."""
    table = Table("", "median", "single rounds", title=title)
    for name, figure in figures.items():
        if isinstance(figure, Ratio):
            table.add_row(name, f"{figure.value:.3f}", f"{figure.low:.3f} to {figure.high:.3f}")
        elif isinstance(figure, float):
            table.add_row(name, f"{figure:.3g}", "")
    return table


def as_json(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Ratios as their value under their own name, and whole under `spread`."""
    spread = {name: asdict(f) for name, f in figures.items() if isinstance(f, Ratio)}
    plain = {name: f.value if isinstance(f, Ratio) else f for name, f in figures.items()}
    return plain | {"spread": spread}
