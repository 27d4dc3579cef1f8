"""`flythinker plan`."""

import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flythinker.cli.options import Json, Override, show

app = typer.Typer()

_UNITS = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}


@app.command(epilog="Example: flythinker plan configs/sotu.yaml --gpu 24GB")
def plan(
    config: Annotated[Path, typer.Argument(help="The YAML file of a training run.")],
    override: Override = None,
    gpu: Annotated[
        str | None, typer.Option(help="Memory of one device, such as 24GB or 80GiB.")
    ] = None,
    row_tokens: Annotated[
        int | None, typer.Option(help="Of the longest row; default: what prompt allows.", min=2)
    ] = None,
    flops: Annotated[
        str | None,
        typer.Option(help="What the device does a second, such as 100T; `here` measures this one."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what a training will take, from configs alone; exit code 1 if it does not fit --gpu."""
    memory = None if gpu is None else int(_number(gpu, "--gpu", "i?B"))
    rate = None if flops in (None, "here") else _number(str(flops), "--flops", "(FLOPS)?")

    from flythinker.planning.plan import make_plan
    from flythinker.planning.show import plan_table, verdict
    from flythinker.training.config import load_config

    settings = load_config(config, override or ())
    if flops == "here":
        rate = _measured(bool(settings.training.bf16))
    found = make_plan(settings, memory, row_tokens, rate)
    lines = verdict(found)
    figures = {"fits": found.fits, "step_seconds": found.step_seconds}
    show({"plan": asdict(found) | figures}, as_json, plan_table(found, str(config)), *lines)
    if found.fits is False:
        raise typer.Exit(1)


def _number(text: str, option: str, suffix: str) -> float:
    """`24GB`, `80GiB`, `100T`."""
    match = re.fullmatch(rf"([0-9.]+)\s*([KMGTP]?)({suffix})", text, re.IGNORECASE)
    if match is None or match[1].count(".") > 1 or match[1] == ".":
        raise typer.BadParameter(f"{option} {text}: expected a number and a unit, such as 24GB")
    number, unit = float(match[1]), match[2].upper()
    if match[3].lower().startswith("i"):
        return number * 2 ** (10 * "KMGTP".index(unit) + 10) if unit else number
    return number * _UNITS[unit]


def _measured(bf16: bool) -> float:
    import torch

    from flythinker.doctor.measure import gflops

    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    return gflops(device, torch.bfloat16 if bf16 else torch.float32) * 1e9
