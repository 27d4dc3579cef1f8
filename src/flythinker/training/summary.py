"""What a finished training says at its end."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from flythinker.model_folder import read_training


def training_seconds(history: Sequence[Mapping[str, Any]]) -> float:
    """How long a training took, by its `log_history`; of a resumed one, what ended it."""
    # a run that counts its tokens notes the time so far with every loss
    ends = [entry for entry in history if "train_samples_per_second" in entry]
    return sum(entry["train_runtime"] for entry in ends)


def summary(folder: Path) -> Table:
    """Steps, losses (nats/token) and time of the run that made a model folder."""
    training = read_training(folder)
    history = training["log_history"]
    train = [entry["loss"] for entry in history if "loss" in entry]
    held_out = [entry["eval_loss"] for entry in history if "eval_loss" in entry]
    seconds = training_seconds(history)
    table = Table(title=str(folder), show_header=False)
    table.add_row("steps", str(training["steps"]))
    if train:
        table.add_row("training loss", f"{train[0]:.3f} → {train[-1]:.3f} nats/token")
    if held_out:
        table.add_row("held-out loss", f"{held_out[-1]:.3f} nats/token (best {min(held_out):.3f})")
    table.add_row(
        "time", f"{seconds / 60:.1f} min, {seconds / max(training['steps'], 1):.2f} s/step"
    )
    return table
