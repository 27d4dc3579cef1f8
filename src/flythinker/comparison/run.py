"""A whole comparison: every trial in turn, then what was measured, by entry and seed."""

import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from flythinker.comparison.config import Comparison, Trial
from flythinker.comparison.trial import (
    HISTORIES,
    OUTPUTS,
    TRAINING,
    losses_file,
    missing_files,
    run_trial,
)
from flythinker.data.example import Example, read_examples, sample_examples, write_examples
from flythinker.data.histories import without_histories
from flythinker.data.outputs import read_outputs
from flythinker.errors import FlyThinkerError
from flythinker.progress import part
from flythinker.scoring.losses import load_characters, load_losses

EXAMPLES = "examples.jsonl"
"""The file in the results that holds what they were measured on, without histories."""


@dataclass
class TrialResult:
    """What was measured of one trial, in the examples' order; what is missing is `None`."""

    trial: Trial
    losses: dict[str, list[NDArray[np.float32]]] = field(default_factory=dict)
    """Nats of each response token by name in `HISTORIES`."""
    characters: list[int] | None = None
    """Of each response text; `None` where what was measured before does not say."""
    texts: list[str] | None = None
    training: dict[str, Any] = field(default_factory=dict)


def read_test(comparison: Comparison) -> list[Example]:
    """The examples that everything is measured on."""
    examples = sample_examples(read_examples(comparison.section.test), comparison.section.examples)
    if not examples:
        raise FlyThinkerError(f"{comparison.section.test}: no examples to compare on")
    return examples


def read_measured(comparison: Comparison) -> list[Example]:
    """Read the test file or, where it is not at hand, its copy in the results, without histories.

    It is all that a report needs, but for the classifier of authors.
    """
    kept = comparison.results / EXAMPLES
    if kept.exists() and not Path(comparison.section.test).exists():
        return read_examples(kept)
    return read_test(comparison)


def run(comparison: Comparison, examples: Sequence[Example]) -> None:
    """Run every trial; what is already measured is not repeated.

    Several processes may run one comparison: a trial that another one is at is left to it.
    """
    work = Path(comparison.config.training.output_dir)
    work.mkdir(parents=True, exist_ok=True)
    if not (comparison.results / EXAMPLES).exists():
        write_examples(comparison.results / EXAMPLES, without_histories(examples))
    for number, trial in enumerate(comparison.trials, start=1):
        title = f"{number} of {len(comparison.trials)}: {trial.label}, seed {trial.seed}"
        try:
            with (
                FileLock(work / f"{trial.id}.lock", blocking=False),
                part(title) if missing_files(comparison, trial) else nullcontext(),
            ):
                run_trial(comparison, trial, examples)
        except Timeout:
            with part(f"{title}: another process is at it"):
                pass


def collect(comparison: Comparison, examples: Sequence[Example]) -> list[TrialResult]:
    """Read what was measured so far, of trials that have at least something."""
    collected = []
    for trial in comparison.trials:
        folder = comparison.results / trial.id
        measured = TrialResult(trial)
        for history in HISTORIES:
            if (folder / losses_file(history)).exists():
                measured.losses[history] = load_losses(folder / losses_file(history))
                measured.characters = load_characters(folder / losses_file(history))
        if (folder / OUTPUTS).exists():
            measured.texts = read_outputs(folder / OUTPUTS, examples)
        if (folder / TRAINING).exists():
            measured.training = json.loads((folder / TRAINING).read_text())
        if measured.losses or measured.texts is not None:
            collected.append(measured)
    return collected
