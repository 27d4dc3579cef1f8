"""`flythinker demo`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer()


@app.command(epilog="Example: flythinker demo --minutes 15")
def demo(
    config: Annotated[Path, typer.Argument(help="A training config.")] = Path("configs/demo.yaml"),
    out: Annotated[Path, typer.Option(help="Folder for all that it makes.")] = Path("runs/demo"),
    minutes: Annotated[float, typer.Option(help="To be done in.", min=1)] = 15,
) -> None:
    """Train SFT and FlyThinker on presidents' addresses, judge both, write a report."""
    from flythinker.demo.run import run_demo

    console = Console()
    report = run_demo(config, out, minutes, console)
    model = out / "flythinker" / "model"
    console.print(f"report: {report}", highlight=False)
    console.print("Now write as yourself, from a folder of your own .txt and .md files:")
    console.print(
        f"  flythinker write --model {model} --history FOLDER --query 'Write about the sea.'",
        highlight=False,
        soft_wrap=True,
    )
