"""FlyThinker against SFT on `sotu`, over variants and seeds: the numbers of docs/results.md.

    flythinker data build sotu --out data/sotu
    python benchmarks/sotu.py run sft linear pad pad-ramp --seed 1 --seed 2
    python benchmarks/sotu.py table --baseline sft --out results/sotu.json

Every run is `configs/sotu.yaml` with the overrides below: the same data, data order (by seed),
steps and Generator learning rate. Runs resume, and finished ones are not repeated.
"""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from flythinker.data.batch import Collator, encode
from flythinker.data.example import read_examples, sample_examples
from flythinker.evaluation.evaluate import describe_environment
from flythinker.evaluation.significance import paired_difference
from flythinker.files import atomic_write
from flythinker.model_folder import load_model_folder
from flythinker.scoring import (
    difference_by_position,
    held_out_loss,
    loss_by_position,
    loss_statistics,
    token_losses,
)
from flythinker.training.config import load_config
from flythinker.training.run import train

RUNS = Path("runs/sotu")
TEST = Path("data/sotu/test.jsonl")
VARIANTS = {
    "sft": ["model.reasoner=null", "model.fusion_weight=0"],
    "linear": [],
    "pad": ["model.projection=pad"],
    "pad-ramp": ["model.projection=pad", "training.fusion_warmup_steps=100"],
}

app = typer.Typer(no_args_is_help=True)


@app.command()
def run(
    variants: Annotated[list[str], typer.Argument(help=f"Of {', '.join(VARIANTS)}.")],
    seed: Annotated[list[int], typer.Option()],
    examples: Annotated[int, typer.Option(help="Test examples, a fixed sample.")] = 100,
) -> None:
    """Train each variant with each seed and measure its losses on the test examples."""
    for number in seed:
        for variant in variants:
            folder = RUNS / f"{variant}-s{number}"
            overrides = [f"training.output_dir={folder}", f"training.seed={number}"]
            model = train(load_config("configs/sotu.yaml", [*VARIANTS[variant], *overrides]))
            measure(str(model), folder / "losses.npz", examples)


@app.command()
def base(examples: Annotated[int, typer.Option()] = 100) -> None:
    """Measure the untrained Generator with the same prompts."""
    config = load_config("configs/sotu.yaml")
    measure(config.model.pretrained(), RUNS / "base-s0" / "losses.npz", examples)


def measure(model: str, out: Path, limit: int) -> None:
    """Token losses of a model on the test examples, kept in `out` (made once)."""
    if out.exists():
        return
    personal = load_model_folder(model)
    # longer responses than in training, so that drift along the text can show
    prompt = replace(load_config("configs/sotu.yaml").prompt, response_tokens=320)
    rows = encode(sample_examples(read_examples(TEST), limit), personal.tokenizer, prompt)
    collator = Collator(personal.tokenizer.pad_token_id)
    losses = token_losses(personal.model, rows, collator, 4, str(out))
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out, *losses)


@app.command()
def table(
    baseline: Annotated[str, typer.Option()],
    out: Annotated[Path, typer.Option(help="JSON file to write.")],
) -> None:
    """Held-out loss of every run, its difference to the baseline's run of the same seed."""
    runs = {path.parent.name: read_losses(path) for path in sorted(RUNS.glob("*/losses.npz"))}
    records: list[dict[str, Any]] = []
    for name, losses in runs.items():
        variant, _, seed = name.rpartition("-s")
        other = runs.get(f"{baseline}-s{seed}")
        difference, by_position = None, []
        if other is not None and variant != baseline:
            interval = paired_difference(loss_statistics(losses), loss_statistics(other))
            difference = asdict(interval)
            by_position = [asdict(part) for part in difference_by_position(losses, other)]
        records.append(
            {
                "variant": variant,
                "seed": int(seed),
                "examples": len(losses),
                "tokens": sum(map(len, losses)),
                "loss": held_out_loss(losses),
                "by_position": [part._asdict() for part in loss_by_position(losses)],
                "difference": difference,
                "difference_by_position": by_position,
            }
        )
        print(f"{name:14} {held_out_loss(losses):.4f}", describe(difference))
    with atomic_write(out) as file:
        json.dump({"environment": describe_environment(), "runs": records}, file, indent=1)


def describe(difference: dict[str, float] | None) -> str:
    """A difference with its 95 % interval, for the terminal."""
    if difference is None:
        return ""
    low, high = difference["low"], difference["high"]
    return f"{difference['difference']:+.4f} [{low:+.4f}, {high:+.4f}]"


def read_losses(path: Path) -> list[NDArray[np.float32]]:
    """The arrays of `measure`, in the examples' order."""
    with np.load(path) as arrays:
        return [arrays[f"arr_{index}"] for index in range(len(arrays.files))]


if __name__ == "__main__":
    app()
