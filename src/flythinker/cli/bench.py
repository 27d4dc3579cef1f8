"""`flythinker bench …`."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from flythinker.cli.options import Dtype

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
    dtype: Dtype = "auto",
    threads: Annotated[int | None, typer.Option(help="Of the CPU; default: torch's.")] = None,
    prompt_tokens: Annotated[int, typer.Option(help="Length of the prompt.", min=1)] = 600,
    rounds: Annotated[int, typer.Option(help="Alternating rounds.", min=1)] = 5,
    model: Annotated[str | None, typer.Option(help="A trained folder: measure drafts.")] = None,
    data: Annotated[Path | None, typer.Option(help="The example file they are for.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Writing: the engine against `generate`, FlyThinker against its Generator alone."""
    import torch

    from flythinker.bench.decode import DecodeSetting, bench_decode
    from flythinker.bench.drafts import bench_drafts

    if threads is not None:
        torch.set_num_threads(threads)
    if (model is None) != (data is None):
        raise typer.BadParameter("--model and --data go together: drafts need texts to write")
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
    if model is not None and data is not None:
        figures |= bench_drafts(model, data, getattr(torch, figures["setting"]["dtype"]), rounds)
    _show("decode", figures, as_json)


@app.command(epilog="Example: flythinker bench sweep --out sweep.png")
def sweep(
    out: Annotated[Path, typer.Option(help="The picture, .png or .svg.")] = Path("sweep.png"),
    generator: Annotated[str, typer.Option(help="Folder or name.")] = "smollm2-135m",
    reasoner: Annotated[str, typer.Option(help="Folder or name.")] = "smollm2-135m",
    dtype: Dtype = "auto",
    threads: Annotated[int | None, typer.Option(help="Of the CPU; default: torch's.")] = None,
    rounds: Annotated[int, typer.Option(help="Alternating rounds.", min=1)] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Cost of a token over prompt, text, batch and size of the Reasoner, as a picture."""
    import torch

    from flythinker.bench.decode import DecodeSetting, resolve
    from flythinker.bench.rounds import describe_machine
    from flythinker.bench.sweep import bench_sweep, draw_sweep

    if out.suffix not in (".png", ".svg"):
        raise typer.BadParameter("--out ends with .png or .svg")
    if threads is not None:
        torch.set_num_threads(threads)
    setting = resolve(DecodeSetting(generator, reasoner, dtype=dtype, new_tokens=16, rounds=rounds))
    points = bench_sweep(setting)
    draw_sweep(points, out)
    if as_json:
        measured = {"setting": vars(setting), "environment": describe_machine()}
        print(json.dumps({"sweep": points} | measured, default=asdict))
    else:
        Console().print(f"picture: {out}", highlight=False)


@app.command(epilog="Example: flythinker bench train configs/sotu.yaml --json")
def train(
    config: Annotated[Path, typer.Argument(help="The YAML file of a training run.")],
    override: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value, may be repeated.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Of the CPU; default: torch's.")] = None,
    rounds: Annotated[int, typer.Option(help="Alternating rounds.", min=1)] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Training: FlyThinker's step against SFT's and against the released recipe's."""
    import torch

    from flythinker.bench.train import bench_train
    from flythinker.training.config import load_config

    if threads is not None:
        torch.set_num_threads(threads)
    _show("train", bench_train(load_config(config, override or ()), rounds), as_json)


@app.command(
    epilog="Example: flythinker bench serve --model runs/demo/flythinker/model "
    "--data runs/demo/data/test.jsonl --json"
)
def serve(
    model: Annotated[str, typer.Option(help="A trained model folder, or a base model's name.")],
    data: Annotated[Path, typer.Option(help="Example file: its queries and histories are asked.")],
    clients: Annotated[int, typer.Option(help="At the same time.", min=1)] = 32,
    seconds: Annotated[float, typer.Option(help="How long they ask.", min=1)] = 120,
    slots: Annotated[int, typer.Option(help="Of the server.", min=1)] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """A server under load: clients at once against one at a time; exit code 1 if it misbehaves."""
    from flythinker.bench.serve import ServeSetting, bench_serve, serve_table

    figures = bench_serve(ServeSetting(model, data, clients, seconds, slots=slots))
    if as_json:
        print(json.dumps({"serve": figures}))
    else:
        Console().print(serve_table(figures))
    for failure in figures["failures"]:
        print(f"failed: {failure}", file=sys.stderr)
    if figures["failures"]:
        raise typer.Exit(1)


def _show(name: str, figures: dict[str, Any], as_json: bool) -> None:
    from flythinker.bench.rounds import as_json as to_json
    from flythinker.bench.rounds import figures_table

    if as_json:
        print(json.dumps({name: to_json(figures)}))
        return
    machine = figures["environment"]
    Console().print(figures_table(f"{machine['machine']}, {machine['threads']} threads", figures))
