"""What bf16 and 8-bit weights cost in held-out loss, for either part (docs/performance.md).

python benchmarks/precision.py runs/sotu/flythinker/model data/sotu/test.jsonl
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import nn

from flythinker.data.batch import Collator, encode
from flythinker.data.example import read_examples, sample_examples
from flythinker.files import atomic_write
from flythinker.generation.cpu.int8 import rounded_linear
from flythinker.model_folder import load_model_folder
from flythinker.scoring.losses import held_out_loss, loss_statistics, token_losses
from flythinker.scoring.significance import paired_difference

WAYS: dict[str, tuple[torch.dtype, tuple[str, ...]]] = {
    "float32": (torch.float32, ()),
    "bf16": (torch.bfloat16, ()),
    "bf16, int8 Reasoner": (torch.bfloat16, ("reasoner",)),
    "bf16, int8 Generator": (torch.bfloat16, ("generator",)),
    "bf16, int8 both": (torch.bfloat16, ("generator", "reasoner")),
}


def main(
    model: Annotated[str, typer.Argument(help="A trained folder.")],
    data: Annotated[Path, typer.Argument(help="Held-out examples.")],
    examples: Annotated[int, typer.Option(help="Of them, a fixed sample.")] = 100,
    out: Annotated[Path | None, typer.Option(help="JSON file to write.")] = None,
) -> None:
    """Held-out loss in every way, and the paired difference to float32 over texts."""
    chosen = sample_examples(read_examples(data), examples)
    losses = {}
    for way, (dtype, rounded) in WAYS.items():
        personal = load_model_folder(model, dtype=dtype)
        for part in rounded:
            round_layers(getattr(personal.model, part))
        rows = encode(chosen, personal.tokenizer, personal.prompt)
        collator = Collator(personal.tokenizer.pad_token_id)
        losses[way] = token_losses(personal.model, rows, collator, 4, way)
    exact = loss_statistics(losses["float32"])
    table = Table("", "nats/token", "difference to float32")
    records: dict[str, Any] = {}
    for way, each in losses.items():
        change = paired_difference(loss_statistics(each), exact)
        records[way] = {"loss": held_out_loss(each), "difference": asdict(change)}
        interval = f"{change.difference:+.4f} [{change.low:+.4f}, {change.high:+.4f}]"
        table.add_row(way, f"{held_out_loss(each):.4f}", "" if way == "float32" else interval)
    Console().print(table)
    if out is not None:
        with atomic_write(out) as file:
            json.dump({"examples": len(chosen), "ways": records}, file, indent=1)


def round_layers(part: nn.Module) -> None:
    """Round all linear layers as the engine's `int8` does."""
    for module in list(part.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Linear:
                setattr(module, name, rounded_linear(child))


if __name__ == "__main__":
    typer.run(main)
