"""What several commands share: options, and how they print what they found."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

DataFile = Annotated[Path, typer.Argument(help="Examples: .jsonl, .json, .csv or .parquet.")]
Model = Annotated[str, typer.Option(help="A trained model folder, or a base model's name.")]
Limit = Annotated[int | None, typer.Option(help="Only this many examples, a fixed sample.")]
# spelled out, not `hardware.Precision`: `--help` answers without loading torch
Dtype = Annotated[
    Literal["auto", "float32", "bfloat16"],
    typer.Option(
        help="Of the weights in memory; auto: as saved, float32 where bf16 would be slow."
    ),
]
Quantized = Annotated[
    Literal["nf4", "int8"] | None,
    typer.Option("--quantization", help="Round the weights while loading, with bitsandbytes."),
]
Override = Annotated[
    list[str] | None, typer.Option("--set", help="section.key=value, may be repeated.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Ray = Annotated[bool, typer.Option("--ray", help="By actors of Ray, see docs/bulk.md.")]
RayAddress = Annotated[
    str | None, typer.Option(help="Of a running cluster; default: Ray on this machine.")
]
Actors = Annotated[int, typer.Option(help="With --ray: each loads the model.", min=1)]
ActorCpus = Annotated[int, typer.Option(help="With --ray: cores of each actor.", min=1)]
ShardRows = Annotated[int, typer.Option(help="With --ray: examples in a shard.", min=1)]


def named(values: list[str] | None, option: str) -> dict[str, str]:
    """`["a=x"]` → `{"a": "x"}`."""
    found: dict[str, str] = {}
    for value in values or []:
        name, equals, path = value.partition("=")
        if not equals or not name or not path or name in found:
            raise typer.BadParameter(f"{option} {value}: expected NAME=PATH with its own name")
        found[name] = path
    return found


def show(data: Any, as_json: bool, *shown: str | Table) -> None:
    """Print `data` as one JSON object, or for people what is `shown`: lines as they are, tables."""
    if as_json:
        print(json.dumps(data, default=asdict))
        return
    for part in shown:
        print(part) if isinstance(part, str) else Console().print(part)
