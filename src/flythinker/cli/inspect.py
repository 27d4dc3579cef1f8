"""`flythinker inspect`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from flythinker.cli.options import DataFile, Json, Model, show

app = typer.Typer()


@app.command(
    epilog="Example: flythinker inspect data/sotu/test.jsonl --model runs/sotu/flythinker/model "
    "--user 'Abraham Lincoln' --out inspect.html"
)
def inspect(
    data: DataFile,
    model: Model,
    user: Annotated[str | None, typer.Option(help="Only this user's examples count.")] = None,
    index: Annotated[int, typer.Option(help="Which example, from 0.", min=0)] = 0,
    text: Annotated[
        Path | None, typer.Option(help="Look at this text instead of the example's own.")
    ] = None,
    effect: Annotated[
        Literal["local", "global"] | None,
        typer.Option(help="Take away one thought at a time, or all; default: local, if any enter."),
    ] = None,
    examples: Annotated[int, typer.Option(help="Texts on the map, a fixed sample.", min=3)] = 100,
    map_by: Annotated[
        Literal["pca", "tsne", "none"], typer.Option("--map", help="The map of thoughts by user.")
    ] = "pca",
    out: Annotated[Path, typer.Option(help="HTML page to write.")] = Path("inspect.html"),
    as_json: Json = False,
) -> None:
    """Show what each thought does in a text, which words it is near, and a map of them by user."""
    from flythinker.data.example import read_examples
    from flythinker.evaluation.evaluate import describe_model
    from flythinker.inspect.inspect_page import write_inspection
    from flythinker.inspect.inspection import check_thinks, choose, inspect_example
    from flythinker.inspect.thought_map import collect, draw_map, map_texts
    from flythinker.model_folder import load_model_folder

    known = read_examples(data)
    example = choose(known, user, index, text)
    texts = [] if map_by == "none" else map_texts(known, examples)
    personal = load_model_folder(model)
    check_thinks(personal, model)
    inspection = inspect_example(personal, example, effect)
    drawn = None if map_by == "none" else draw_map(collect(personal, texts), map_by)
    settings = {"model": model, "data": data, "text": text or "the user's own"}
    settings |= describe_model(personal)
    show(write_inspection(out, example, inspection, drawn, settings), as_json, f"page: {out}")
