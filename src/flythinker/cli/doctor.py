"""`flythinker doctor`."""

import json
from typing import Annotated

import typer
from rich.console import Console

from flythinker.cli.options import Json

app = typer.Typer()


@app.command(epilog="Example: flythinker doctor --json > doctor.json")
def doctor(
    as_json: Json = False,
    measure: Annotated[
        bool, typer.Option(help="Take some seconds to measure how fast it is here.")
    ] = True,
) -> None:
    """Say what is here, what will be used and what to do; exit code 1 if it cannot work."""
    from flythinker.doctor.examine import examine
    from flythinker.doctor.show import show

    found = examine(measure)
    if as_json:
        print(json.dumps(found.as_json()))
    else:
        Console().print(show(found), highlight=False)
    if not found.ok:
        raise typer.Exit(1)
