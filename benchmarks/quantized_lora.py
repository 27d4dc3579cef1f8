"""LoRA on weights in float32 and in 4 bits: peak memory, loss, seconds a step (docs/one-gpu.md).

    flythinker data build sotu --split temporal --out data/sotu
    python benchmarks/quantized_lora.py --out results/performance/quantized-lora.json

Every way is `configs/sotu.yaml` with LoRA, in a process of its own, one after the other.
"""

import json
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from transformers import TrainerCallback

from flythinker.bench.rounds import describe_machine
from flythinker.data.batch import Collator
from flythinker.files import atomic_write
from flythinker.memory import peak_gigabytes
from flythinker.model_folder import load_model_folder, read_training
from flythinker.scoring.losses import held_out_loss, token_losses
from flythinker.training.config import RunConfig, load_config
from flythinker.training.run import Recipe, load_rows, train
from flythinker.training.trainer import FlyThinkerTrainer

CONFIG = Path("configs/sotu.yaml")
LORA = ["lora.r=16", "lora.alpha=32", "training.learning_rate=5.0e-4"]
LORA += ["training.reasoner_learning_rate=5.0e-4", "training.warmup_steps=4"]
WAYS = {
    "float32": ["model.dtype=float32"],
    "nf4": ["model.dtype=bfloat16", "model.quantization=nf4"],  # the dtype of what is not rounded
}


class Peak(TrainerCallback):
    """What a training takes at most, without loading and saving; gigabytes, seconds."""

    def __init__(self) -> None:
        self.gigabytes = self.seconds = 0.0

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """Forget the peak of the loading."""
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        else:
            Path("/proc/self/clear_refs").write_text("5")
        self.seconds = -time.perf_counter()

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        """Note the peak."""
        self.gigabytes = peak_gigabytes()
        self.seconds += time.perf_counter()


def main(
    steps: Annotated[int, typer.Option(help="Of one text each.")] = 24,
    validation: Annotated[int, typer.Option(help="Held-out texts.")] = 16,
    threads: Annotated[int, typer.Option(help="Of the CPU.")] = 2,
    out: Annotated[Path | None, typer.Option(help="JSON file to write.")] = None,
) -> None:
    """Train in every way and show what each takes."""
    table = Table("weights", "peak, GB", "s a step", "loss while trained", "finished folder")
    found: dict[str, Any] = {}
    for way, settings in WAYS.items():
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            found[way] = pool.submit(measure, settings, steps, validation, threads).result()
        table.add_row(way, *(f"{value:.3f}" for value in found[way].values()))
    Console().print(table)
    if out is not None:
        machine = describe_machine() | {"threads": threads}
        with atomic_write(out) as file:
            record = {"steps": steps, "validation": validation, "ways": found}
            json.dump(record | {"environment": machine}, file, indent=1)


def measure(settings: list[str], steps: int, validation: int, threads: int) -> dict[str, float]:
    """One training; losses are held-out, nats a token.

    The peak is without what the process held before anything was loaded: Python and libraries.
    """
    torch.set_num_threads(threads)
    libraries = 0.0 if torch.cuda.is_available() else peak_gigabytes()
    peak = Peak()
    with TemporaryDirectory() as folder:
        overrides = [
            *(f"training.max_steps={steps}", f"training.eval_steps={steps}"),
            *(f"training.output_dir={folder}", "training.save_strategy=no"),
            f"data.max_validation={validation}",
        ]
        config = load_config(CONFIG, [*LORA, *settings, *overrides])
        model = train(config, recipe=Recipe(trainer=partial(watched, peak)))
        history = read_training(model)["log_history"]
        losses = [line["eval_loss"] for line in history if "eval_loss" in line]
        return {
            "peak_gigabytes": peak.gigabytes - libraries,
            "seconds_a_step": peak.seconds / steps,
            "loss_while_trained": losses[-1],
            "loss_of_folder": finished_loss(config, str(model)),
        }


def watched(peak: Peak, **arguments: Any) -> FlyThinkerTrainer:
    """A trainer that tells `peak`."""
    trainer = FlyThinkerTrainer(**arguments)
    trainer.add_callback(peak)
    return trainer


def finished_loss(config: RunConfig, folder: str) -> float:
    """Of the finished folder in float32, on the validation texts."""
    personal = load_model_folder(folder, dtype=torch.float32)
    _, rows = load_rows(config, personal.tokenizer)
    assert rows is not None
    collator = Collator(personal.tokenizer.pad_token_id)
    return held_out_loss(token_losses(personal.model, rows, collator, 4))


if __name__ == "__main__":
    typer.run(main)
