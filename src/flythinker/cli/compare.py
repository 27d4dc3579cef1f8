"""`flythinker compare` and `flythinker ablate`."""

from pathlib import Path
from typing import Annotated

import typer

from flythinker.cli.options import Json, Override, show

app = typer.Typer()

Config = Annotated[Path, typer.Argument(help="A YAML file with a `compare` section.")]


@app.command(epilog="Example: flythinker compare configs/compare/sotu.yaml --only sft,flythinker")
def compare(
    config: Config,
    override: Override = None,
    only: Annotated[str | None, typer.Option(help="Entries to run, separated by commas.")] = None,
    report: Annotated[
        bool, typer.Option("--report", help="Run nothing; report on what is measured so far.")
    ] = False,
    efficiency: Annotated[
        bool, typer.Option("--efficiency", help="Measure what each entry costs, and only that.")
    ] = False,
    title: Annotated[str, typer.Option(help="Of the report.")] = "FlyThinker comparison",
    as_json: Json = False,
) -> None:
    """Train, run and compare methods over seeds; a killed comparison goes on where it was."""
    from flythinker.comparison.config import load_comparison
    from flythinker.comparison.config import only as keep
    from flythinker.comparison.efficiency import measure_efficiency
    from flythinker.comparison.report import terminal_table, write_comparison
    from flythinker.comparison.run import collect, read_measured, read_test, run

    comparison = load_comparison(config, override or ())
    examples = read_measured(comparison) if report else read_test(comparison)
    wanted = comparison if only is None else keep(comparison, only.split(","))
    if efficiency:
        measure_efficiency(wanted, examples)
    elif not report:
        run(wanted, examples)
    data = write_comparison(comparison, collect(comparison, examples), examples, title)
    show(data, as_json, terminal_table(data["results"]), f"report: {comparison.page}")


@app.command(epilog="Example: flythinker ablate configs/compare/sotu.yaml --only 'fusion weight'")
def ablate(
    config: Annotated[Path, typer.Argument(help="A YAML file with an `ablate` section.")],
    override: Override = None,
    only: Annotated[str | None, typer.Option(help="Studies to run, separated by commas.")] = None,
    report: Annotated[
        bool, typer.Option("--report", help="Run nothing; report on what is measured so far.")
    ] = False,
    efficiency: Annotated[
        bool, typer.Option("--efficiency", help="Measure what each point costs, and only that.")
    ] = False,
    title: Annotated[str, typer.Option(help="Of the report.")] = "FlyThinker ablations",
    as_json: Json = False,
) -> None:
    """Train FlyThinker with one setting changed at a time; a killed run goes on where it was."""
    from flythinker.comparison.ablate import load_ablation, study_table, write_ablation
    from flythinker.comparison.efficiency import measure_efficiency
    from flythinker.comparison.run import collect, read_measured, read_test, run

    ablation = load_ablation(config, override or (), None if only is None else only.split(","))
    comparison = ablation.comparison
    examples = read_measured(comparison) if report else read_test(comparison)
    if efficiency:
        measure_efficiency(comparison, examples)
    elif not report:
        run(comparison, examples)
    data = write_ablation(ablation, collect(comparison, examples), examples, title)
    tables = [study_table(name, lines) for name, lines in data["studies"].items()]
    show(data, as_json, *tables, f"report: {comparison.page}")
