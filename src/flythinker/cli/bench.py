"""`flythinker bench …`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from flythinker.cli.options import Dtype, Json, Model, Override, show

app = typer.Typer(no_args_is_help=True, help="Measure what things cost, as ratios in one run.")

Backbone = Annotated[str, typer.Option(help="Folder or name.")]
Reasoner = Annotated[str | None, typer.Option(help="Folder or name; default: the Generator's.")]
Threads = Annotated[int | None, typer.Option(help="Of the CPU; default: torch's.")]
Rounds = Annotated[int, typer.Option(help="Alternating rounds.", min=1)]


@app.callback()
def bench() -> None:
    """Measure what things cost, as ratios in one run."""


@app.command(epilog="Example: flythinker bench decode --reasoner-layers 30 --json")
def decode(
    generator: Backbone = "smollm2-135m",
    reasoner: Reasoner = None,
    reasoner_layers: Annotated[
        int, typer.Option(help="Its first layers only; 0 = all.", min=0)
    ] = 8,
    dtype: Dtype = "auto",
    threads: Threads = None,
    prompt_tokens: Annotated[int, typer.Option(help="Length of the prompt.", min=1)] = 600,
    rounds: Rounds = 5,
    model: Annotated[str | None, typer.Option(help="A trained folder: measure drafts.")] = None,
    data: Annotated[Path | None, typer.Option(help="The example file they are for.")] = None,
    as_json: Json = False,
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
            reasoner or generator,
            reasoner_layers or None,
            dtype,
            prompt_tokens=prompt_tokens,
            rounds=rounds,
        )
    )
    if model is not None and data is not None:
        figures |= bench_drafts(model, data, getattr(torch, figures["setting"]["dtype"]), rounds)
    _show_figures("decode", figures, as_json)


@app.command(epilog="Example: flythinker bench sweep --out sweep.png")
def sweep(
    out: Annotated[Path, typer.Option(help="The picture, .png or .svg.")] = Path("sweep.png"),
    generator: Backbone = "smollm2-135m",
    reasoner: Reasoner = None,
    dtype: Dtype = "auto",
    threads: Threads = None,
    rounds: Rounds = 3,
    as_json: Json = False,
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
    models = generator, reasoner or generator
    setting = resolve(DecodeSetting(*models, dtype=dtype, new_tokens=16, rounds=rounds))
    points = bench_sweep(setting)
    draw_sweep(points, out)
    measured = {"setting": vars(setting), "environment": describe_machine()}
    show({"sweep": points} | measured, as_json, f"picture: {out}")


@app.command(epilog="Example: flythinker bench train configs/sotu.yaml --json")
def train(
    config: Annotated[Path, typer.Argument(help="The YAML file of a training run.")],
    override: Override = None,
    threads: Threads = None,
    rounds: Rounds = 5,
    as_json: Json = False,
) -> None:
    """Training: FlyThinker's step against SFT's and against the released recipe's."""
    import torch

    from flythinker.bench.train import bench_train
    from flythinker.training.config import load_config

    if threads is not None:
        torch.set_num_threads(threads)
    _show_figures("train", bench_train(load_config(config, override or ()), rounds), as_json)


@app.command(
    epilog="Example: flythinker bench serve --model runs/demo/flythinker/model "
    "--data runs/demo/data/test.jsonl --json"
)
def serve(
    model: Model,
    data: Annotated[Path, typer.Option(help="Example file: its queries and histories are asked.")],
    clients: Annotated[int, typer.Option(help="At the same time.", min=1)] = 32,
    seconds: Annotated[float, typer.Option(help="How long they ask.", min=1)] = 120,
    slots: Annotated[int, typer.Option(help="Of the server.", min=1)] = 8,
    large_user: Annotated[
        int, typer.Option(help="Compare a user of so many documents with one of ten.", min=0)
    ] = 0,
    persons: Annotated[
        int,
        typer.Option(
            help="Compare so many of the clients having an adapter each with nobody having one.",
            min=0,
        ),
    ] = 0,
    learning: Annotated[
        bool,
        typer.Option(
            "--learning", help="Compare texts while somebody is learned with texts while nobody is."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """A server under load: clients at once against one at a time; exit code 1 if it misbehaves."""
    from flythinker.bench.serve import bench_serve, serve_table
    from flythinker.bench.served import ServeSetting

    if persons > clients:
        raise typer.BadParameter(f"--persons are some of the {clients} --clients")
    setting = ServeSetting(
        model,
        data,
        clients,
        seconds,
        slots=slots,
        large_user=large_user,
        persons=persons,
        learning=learning,
    )
    figures = bench_serve(setting)
    show({"serve": figures}, as_json, serve_table(figures))
    for failure in figures["failures"]:
        print(f"failed: {failure}", file=sys.stderr)
    if figures["failures"]:
        raise typer.Exit(1)


def _show_figures(name: str, figures: dict[str, Any], as_json: bool) -> None:
    from flythinker.bench.rounds import as_json as to_json
    from flythinker.bench.rounds import figures_table

    machine = figures["environment"]
    table = figures_table(f"{machine['machine']}, {machine['threads']} threads", figures)
    show({name: to_json(figures)}, as_json, table)
