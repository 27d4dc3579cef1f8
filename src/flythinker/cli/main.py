"""`flythinker`: the command line. Each command is a thin shell around functions elsewhere.

Heavy imports stay inside the commands, so that `--help` answers at once.
"""

import sys
from logging import ERROR, getLogger
from pathlib import Path
from typing import Annotated
from warnings import filterwarnings

import typer

from flythinker.cli import (
    adapt,
    bench,
    compare,
    data,
    demo,
    doctor,
    evaluate,
    hub,
    import_texts,
    inspect,
    plan,
    serve,
    train,
    write,
)
from flythinker.cli.admin import keys_app, users_app
from flythinker.disk import says_full
from flythinker.errors import FlyThinkerError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Write long texts as one particular user would, thinking while generating.",
)
WITHOUT_TRANSFORMERS = {"doctor", "data", "import", "keys", "users"}
"""They start at once, and where it cannot be imported."""

# without a name, a family's commands stand beside the others
for family in (
    train,
    plan,
    adapt,
    write,
    import_texts,
    evaluate,
    inspect,
    hub,
    compare,
    demo,
    doctor,
    serve,
):
    app.add_typer(family.app)
app.add_typer(data.app, name="data")
app.add_typer(bench.app, name="bench")
app.add_typer(keys_app, name="keys")
app.add_typer(users_app, name="users")


@app.callback()
def common(
    context: typer.Context,
    debug: Annotated[bool, typer.Option(help="Show the traceback of an error.")] = False,
) -> None:
    """Options before the command."""
    if context.invoked_subcommand in WITHOUT_TRANSFORMERS:
        return
    from transformers.utils import logging

    # bitsandbytes asks a hub for kernels as it is imported; without them it works as well
    getLogger("bitsandbytes").setLevel(ERROR)
    # PEFT's own question to transformers; nobody who reads it can do anything
    filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
    logging.set_verbosity_error()
    logging.disable_progress_bar()  # of loading weights; trainings show their own


def main() -> None:
    """Run a command; any failure is one clear line and exit code 1 (wrong use: 2)."""
    try:
        app()
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        problem = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, ModuleNotFoundError):
            problem += "; `pip install '.[eval,serve]'` in FlyThinker's checkout brings what "
            problem += "commands may need"
        elif not isinstance(error, FlyThinkerError) and says_full(error, Path.cwd()):
            problem += ": the disk is full: make room and run the same command again"
        elif not isinstance(error, FlyThinkerError | OSError):
            problem += " (unexpected; `flythinker --debug …` shows where)"
        print(f"error: {problem}", file=sys.stderr)
        sys.exit(1)
