"""`flythinker bench …`."""

import json
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer(no_args_is_help=True, help="Measure what things cost, as ratios in one run.")


@app.callback()
def bench() -> None:
    """Measure what things cost, as ratios in one run."""


@app.command(epilog="Example: flythinker bench decode --reasoner-layers 30 --json")
def decode(
    generator: Annotated[str, typer.Option(help="Folder or name.")] = "smollm2-135m",
    reasoner: Annotated[str, typer.Option(help="Folder or name.")] = "smollm2-135m",
    reasoner_layers: Annotated[
        int, typer.Option(help="Its first layers only; 0 = all.", min=0)
    ] = 8,
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "bfloat16",
    threads: Annotated[int | None, typer.Option(help="Of the CPU; default: torch's.")] = None,
    prompt_tokens: Annotated[int, typer.Option(help="Length of the prompt.", min=1)] = 600,
    rounds: Annotated[int, typer.Option(help="Alternating rounds.", min=1)] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Writing: the engine against `generate`, FlyThinker against its Generator alone."""
    import torch

    from flythinker.bench.decode import DecodeSetting, bench_decode
    from flythinker.bench.rounds import as_json as to_json
    from flythinker.bench.rounds import figures_table

    if threads is not None:
        torch.set_num_threads(threads)
    if dtype not in ("float32", "bfloat16"):
        raise typer.BadParameter("--dtype is float32 or bfloat16")
    figures = bench_decode(
        DecodeSetting(
            generator,
            reasoner,
            reasoner_layers or None,
            dtype,
            prompt_tokens=prompt_tokens,
            rounds=rounds,
        )
    )
    if as_json:
        print(json.dumps({"decode": to_json(figures)}))
        return
    machine = figures["environment"]
    Console().print(figures_table(f"{machine['machine']}, {machine['threads']} threads", figures))
