"""Options that several commands have."""

from typing import Annotated, Literal

import typer

# spelled out, not `hardware.Precision`: `--help` answers without loading torch
Dtype = Annotated[
    Literal["auto", "float32", "bfloat16"],
    typer.Option(
        help="Of the weights in memory; auto: as saved, float32 where bf16 would be slow."
    ),
]
