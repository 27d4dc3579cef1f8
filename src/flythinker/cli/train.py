"""`flythinker train`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flythinker.cli.options import Override

app = typer.Typer()


@app.command(epilog="Example: flythinker train configs/sotu.yaml --set training.seed=2")
def train(
    config: Annotated[Path, typer.Argument(help="A YAML file, see docs/training.md.")],
    override: Override = None,
    restart: Annotated[
        bool, typer.Option(help="Start over instead of resuming what output_dir holds.")
    ] = False,
) -> None:
    """Train FlyThinker, or SFT with model.reasoner=null; a killed run resumes."""
    from flythinker.training.config import load_config
    from flythinker.training.run import train as run
    from flythinker.training.summary import summary

    settings = load_config(config, override or ())
    folder = run(settings, restart)
    if settings.training.process_index == 0:  # of a launcher's, see docs/distributed.md
        Console().print(summary(folder))
