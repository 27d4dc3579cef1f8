"""`flythinker evaluate` and `flythinker judge`."""

from pathlib import Path
from typing import Annotated

import typer

from flythinker.cli.options import (
    ActorCpus,
    Actors,
    DataFile,
    Dtype,
    Json,
    Limit,
    Ray,
    RayAddress,
    ShardRows,
    named,
    show,
)

app = typer.Typer()


@app.command(
    epilog="Example: flythinker evaluate data/sotu/test.jsonl --model sft=runs/sotu/sft/model "
    "--model fly=runs/sotu/flythinker/model --baseline sft --limit 100"
)
def evaluate(
    data: DataFile,
    model: Annotated[
        list[str] | None, typer.Option(help="NAME=FOLDER; measures the held-out loss.")
    ] = None,
    outputs: Annotated[
        list[str] | None, typer.Option(help="NAME=FILE of `generate`; measures the texts.")
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="Differences are to this one; default: the first.")
    ] = None,
    limit: Limit = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 4,
    dtype: Dtype = "auto",
    report: Annotated[
        Path | None, typer.Option(help="Write an HTML report here, and Markdown beside it.")
    ] = None,
    title: Annotated[str, typer.Option(help="Of the report.")] = "FlyThinker evaluation",
    ray: Ray = False,
    ray_address: RayAddress = None,
    actors: Actors = 1,
    actor_cpus: ActorCpus = 1,
    shard_rows: ShardRows = 64,
    as_json: Json = False,
) -> None:
    """Compare models by held-out loss and text metrics, with bootstrap intervals."""
    from flythinker.bulk.evaluate import BulkMeasure
    from flythinker.bulk.pool import Pool
    from flythinker.data.example import read_examples, sample_examples
    from flythinker.evaluation.evaluate import evaluate as run
    from flythinker.hardware import as_dtype
    from flythinker.reporting.report import report_results, results_table

    models = named(model, "--model")
    files = {name: Path(path) for name, path in named(outputs, "--outputs").items()}
    if not models and not files:
        raise typer.BadParameter("give at least one --model or --outputs")
    examples = sample_examples(read_examples(data), limit)
    measure = BulkMeasure(Pool(ray_address, actors, actor_cpus), shard_rows) if ray else None
    results = run(examples, models, files, batch_size, measure, as_dtype(dtype))
    shown = report_results(examples, results, baseline, report, title, models)
    place = () if report is None else (f"report: {report}",)
    show(shown, as_json, results_table(shown["rows"]), *place)


@app.command(
    epilog="Example: flythinker judge data/sotu/test.jsonl --limit 100 --outputs SFT=sft.jsonl "
    "--outputs FlyThinker=fly.jsonl --base-url http://localhost:8000/v1"
)
def judge(
    data: DataFile,
    outputs: Annotated[list[str], typer.Option(help="NAME=FILE of `generate`, two or more.")],
    baseline: Annotated[
        str | None, typer.Option(help="The others are judged against this one; default: the first.")
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(help="OpenAI-compatible endpoint; default: OpenAI's.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The judge; default: the endpoint's only model.")
    ] = None,
    api_key_env: Annotated[
        str, typer.Option(help="Environment variable that holds the API key.")
    ] = "OPENAI_API_KEY",
    limit: Limit = None,
    concurrency: Annotated[int, typer.Option(help="Calls at the same time.", min=1)] = 4,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show prompts and cost, contact nobody.")
    ] = False,
    out: Annotated[Path, typer.Option(help="JSONL file for the answers.")] = Path("verdicts.jsonl"),
    as_json: Json = False,
) -> None:
    """Have a language model say which texts are closer to the users' own; a killed run resumes."""
    files = named(outputs, "--outputs")
    first = baseline or next(iter(files))
    if len(files) < 2 or first not in files:
        raise typer.BadParameter("give two --outputs or more, and as --baseline one of their names")

    from flythinker.data.example import read_examples, sample_examples
    from flythinker.data.outputs import read_outputs
    from flythinker.judge.endpoint import Endpoint
    from flythinker.judge.judge import judge_by, judge_table
    from flythinker.judge.questions import build_questions, plan

    examples = sample_examples(read_examples(data), limit)
    texts = {name: read_outputs(Path(file), examples) for name, file in files.items()}
    questions = build_questions(examples, texts, first)
    if dry_run:
        cost = plan(questions)
        calls = f"{cost['calls']} calls, about {cost['prompt_tokens']} tokens of prompts"
        show(cost, as_json, "\n\n".join([*cost["prompts"], calls]))
        return
    judged = judge_by(Endpoint(base_url, model, api_key_env), questions, first, out, concurrency)
    missing = [f"missing, {count} times: {r}" for r, count in judged["missing_reasons"].items()]
    show(judged, as_json, judge_table(judged["rows"]), *missing, f"answers: {out}")
