"""`flythinker`: the command line. Each command is a thin shell around a function elsewhere.

Heavy imports stay inside the commands, so that `--help` answers at once.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from flythinker.cli.admin import keys_app, users_app
from flythinker.cli.bench import app as bench_app
from flythinker.cli.compare import app as comparison_app
from flythinker.cli.data import app as data_app
from flythinker.cli.demo import app as demo_app
from flythinker.cli.doctor import app as doctor_app
from flythinker.cli.options import Dtype
from flythinker.cli.serve import app as serving_app
from flythinker.disk import says_full
from flythinker.errors import FlyThinkerError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Write long texts as one particular user would, thinking while generating.",
)
app.add_typer(data_app, name="data")
app.add_typer(bench_app, name="bench")
app.add_typer(keys_app, name="keys")
app.add_typer(users_app, name="users")
# without a name: they stand beside ours
for commands in (comparison_app, demo_app, doctor_app, serving_app):
    app.add_typer(commands)

DataFile = Annotated[Path, typer.Argument(help="Examples: .jsonl, .json, .csv or .parquet.")]
Model = Annotated[str, typer.Option(help="A trained model folder, or a base model's name.")]
Limit = Annotated[int | None, typer.Option(help="Only this many examples, a fixed sample.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
MaxNewTokens = Annotated[int, typer.Option(help="Longest response, in tokens.", min=1)]
Temperature = Annotated[float, typer.Option(help="0 decodes greedily.", min=0.0)]
TopP = Annotated[float, typer.Option(help="Nucleus sampling.", min=0.0, max=1.0)]
Seed = Annotated[int, typer.Option(help="The same seed gives the same text.")]
Ray = Annotated[bool, typer.Option("--ray", help="By actors of Ray, see docs/bulk.md.")]
RayAddress = Annotated[
    str | None, typer.Option(help="Of a running cluster; default: Ray on this machine.")
]
Actors = Annotated[int, typer.Option(help="With --ray: each loads the model.", min=1)]
ActorCpus = Annotated[int, typer.Option(help="With --ray: cores of each actor.", min=1)]
ShardRows = Annotated[int, typer.Option(help="With --ray: examples in a shard.", min=1)]


@app.callback()
def common(
    context: typer.Context,
    debug: Annotated[bool, typer.Option(help="Show the traceback of an error.")] = False,
) -> None:
    """Options before the command."""
    if context.invoked_subcommand == "doctor":  # starts also where transformers does not
        return
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()  # of loading weights; trainings show their own


@app.command(epilog="Example: flythinker train configs/sotu.yaml --set training.seed=2")
def train(
    config: Annotated[Path, typer.Argument(help="A YAML file, see docs/training.md.")],
    override: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value, may be repeated.")
    ] = None,
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


@app.command(
    epilog="Example: flythinker write --model runs/demo/flythinker/model --user 'Abraham "
    "Lincoln' --data data/sotu/test.jsonl --query 'Write about the navy.'"
)
def write(
    model: Model,
    query: Annotated[str, typer.Option(help="What to write.")],
    user: Annotated[str | None, typer.Option(help="A user of the data file.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Data file that knows the user; default: the model's own.")
    ] = None,
    history: Annotated[
        Path | None, typer.Option(help="Or past texts: a folder, a .txt, .md or .jsonl file.")
    ] = None,
    max_new_tokens: MaxNewTokens = 512,
    temperature: Temperature = 0.8,
    top_p: TopP = 0.95,
    seed: Seed = 0,
    dtype: Dtype = "auto",
) -> None:
    """Write one text as a user would; it streams."""
    from flythinker.data.example import Example
    from flythinker.data.history import history_of_user, read_history
    from flythinker.data.prompt import build_prompt
    from flythinker.generation.sampling import Sampling
    from flythinker.generation.write import text_writer
    from flythinker.hardware import as_dtype
    from flythinker.model_folder import load_model_folder

    if (user is None) == (history is None):
        raise typer.BadParameter("give either --user or --history")
    personal = load_model_folder(model, dtype=as_dtype(dtype))
    if history is not None:
        documents = read_history(history)
    else:
        recorded = personal.training.get("data", {})
        file = data or recorded.get("validation") or recorded.get("train")
        if file is None:
            raise typer.BadParameter("--user needs --data: this model has no training data")
        documents = history_of_user(Path(file), str(user))
    example = Example(user or "me", query, "", tuple(documents))
    prompt = build_prompt(example, personal.tokenizer, personal.prompt)
    note = Console(stderr=True, style="dim")
    if prompt.documents:
        titles = ", ".join(document.title or "untitled" for document in prompt.documents)
        note.print(f"personalized from {len(prompt.documents)} of {len(documents)} texts: {titles}")
    elif documents:
        note.print(
            f"none of {len(documents)} texts fits into profile_tokens="
            f"{personal.prompt.profile_tokens}: this is un-personalized"
        )
    else:
        note.print("no past texts: this is un-personalized")
    sampling = Sampling(max_new_tokens, temperature, top_p, seed)
    for piece in text_writer(personal, slots=1).stream(prompt, sampling):
        print(piece, end="", flush=True)
    print()


@app.command(
    epilog="Example: flythinker generate data/sotu/test.jsonl --model runs/sotu/sft/model "
    "--out runs/sft.jsonl --limit 100"
)
def generate(
    data: DataFile,
    model: Model,
    out: Annotated[Path, typer.Option(help="JSONL or parquet file; with --ray a folder.")],
    limit: Limit = None,
    batch_size: Annotated[int, typer.Option(help="Texts at the same time.", min=1)] = 8,
    max_new_tokens: MaxNewTokens = 512,
    temperature: Temperature = 0.8,
    top_p: TopP = 0.95,
    seed: Seed = 0,
    dtype: Dtype = "auto",
    ray: Ray = False,
    ray_address: RayAddress = None,
    actors: Actors = 1,
    actor_cpus: ActorCpus = 1,
    shard_rows: ShardRows = 64,
    shard_format: Annotated[
        Literal["jsonl", "parquet"], typer.Option(help="With --ray: of the shards.")
    ] = "jsonl",
    engine: Annotated[
        Literal["local", "vllm"], typer.Option(help="With --ray: what an actor writes with.")
    ] = "local",
) -> None:
    """Write a response to every example of a data file; a killed run resumes."""
    from flythinker.data.example import read_examples, sample_examples
    from flythinker.data.prompt import build_prompts
    from flythinker.generation.files import generate_file
    from flythinker.generation.sampling import Sampling
    from flythinker.generation.write import text_writer
    from flythinker.hardware import as_dtype
    from flythinker.model_folder import load_model_folder

    if engine == "vllm" and not ray:
        raise typer.BadParameter("--engine vllm is for --ray (docs/bulk.md)")
    examples = sample_examples(read_examples(data), limit)
    if ray:
        from flythinker.bulk.generate import BulkSetting, generate_shards
        from flythinker.bulk.pool import Pool

        drawn = Sampling(max_new_tokens, temperature, top_p, seed)
        setting = BulkSetting(model, drawn, shard_rows, batch_size, shard_format, engine, dtype)
        generate_shards(examples, setting, Pool(ray_address, actors, actor_cpus), out)
        Console().print(f"{len(examples)} outputs in {out}/", highlight=False)
        return
    personal = load_model_folder(model, dtype=as_dtype(dtype))
    prompts = build_prompts(examples, personal.tokenizer, personal.prompt)
    sampling = Sampling(max_new_tokens, temperature, top_p, seed)
    writer = text_writer(personal, batch_size)
    generate_file(prompts, writer.write_each, examples, out, sampling)
    Console().print(f"{len(examples)} outputs in {out}", highlight=False)


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
    from flythinker.data.example import read_examples, sample_examples
    from flythinker.evaluation.compare import compare, compare_positions
    from flythinker.evaluation.evaluate import describe_environment
    from flythinker.evaluation.evaluate import evaluate as run
    from flythinker.hardware import as_dtype
    from flythinker.model_folder import load_tokenizer
    from flythinker.reporting.report import results_table, write_report

    models = _named(model or [], "--model")
    files = {name: Path(path) for name, path in _named(outputs or [], "--outputs").items()}
    if not models and not files:
        raise typer.BadParameter("give at least one --model or --outputs")
    examples = sample_examples(read_examples(data), limit)
    measure = None
    if ray:
        from flythinker.bulk.evaluate import BulkMeasure
        from flythinker.bulk.pool import Pool

        measure = BulkMeasure(Pool(ray_address, actors, actor_cpus), shard_rows)
    results = run(examples, models, files, batch_size, measure, as_dtype(dtype))
    first = baseline or results[0].name
    if report is not None:
        # the texts are cut in segments as the first model reads them
        tokenizer = load_tokenizer(next(iter(models.values()))) if models else None
        shown = write_report(
            report, title, examples, results, first, describe_environment(), tokenizer
        )
    else:
        references = [example.target for example in examples]
        shown = {"baseline": first, "rows": compare(results, references, first)}
        shown["loss_by_position"] = compare_positions(results, first)
    if as_json:
        print(json.dumps(shown))
        return
    Console().print(results_table(shown["rows"]))
    if report is not None:
        Console().print(f"report: {report}", highlight=False)


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
    files = _named(outputs, "--outputs")
    first = baseline or next(iter(files))
    if len(files) < 2 or first not in files:
        raise typer.BadParameter("give two --outputs or more, and as --baseline one of their names")

    from flythinker.data.example import read_examples, sample_examples
    from flythinker.data.outputs import read_outputs
    from flythinker.judge import judge as judging

    examples = sample_examples(read_examples(data), limit)
    texts = {name: read_outputs(Path(file), examples) for name, file in files.items()}
    questions = judging.build_questions(examples, texts, first)
    if dry_run:
        plan = judging.plan(questions)
        print(json.dumps(plan) if as_json else "\n\n".join(plan["prompts"]))
        if not as_json:
            print(f"\n{plan['calls']} calls, about {plan['prompt_tokens']} tokens of prompts")
        return

    from flythinker.judge.endpoint import Endpoint

    endpoint = Endpoint(base_url, model, api_key_env)
    settings = {"model": endpoint.model, "base_url": endpoint.base_url}
    answers = judging.judge(questions, endpoint.ask, out, settings, concurrency)
    rows = judging.tally(questions, answers, first)
    reasons = judging.missing_reasons(answers)
    if as_json:
        print(json.dumps(settings | {"rows": rows, "missing_reasons": reasons}))
        return
    Console().print(judging.judge_table(rows))
    for reason, count in reasons.items():
        print(f"missing, {count} times: {reason}")
    Console().print(f"answers: {out}", highlight=False)


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
    from dataclasses import asdict, replace

    from flythinker.data.example import read_examples
    from flythinker.data.folder import read_document
    from flythinker.evaluation.evaluate import describe_model
    from flythinker.inspect import inspection as inspecting
    from flythinker.inspect.inspect_page import write_inspection
    from flythinker.inspect.thought_map import collect, draw_map, map_texts
    from flythinker.model_folder import load_model_folder

    known = read_examples(data)
    example = inspecting.choose(known, user, index)
    if text is not None:
        document = read_document(text)
        example = replace(example, target=document.text if document else "")
    texts = [] if map_by == "none" else map_texts(known, examples)
    personal = load_model_folder(model)
    inspecting.check_thinks(personal, model)
    chosen = effect or inspecting.default_effect(personal)
    inspection = inspecting.inspect_example(personal, example, chosen)
    drawn = None
    if map_by != "none":
        drawn = draw_map(collect(personal, texts), map_by)
    settings = {"model": model, "data": data, "text": text or "the user's own"}
    write_inspection(out, example, inspection, drawn, settings | describe_model(personal))
    if as_json:
        numbers = [asdict(row) for row in drawn.numbers] if drawn else None
        shown = {"user": example.user_id, "query": example.query, "page": str(out)}
        print(json.dumps(shown | asdict(inspection) | {"map": numbers}))
        return
    Console().print(f"page: {out}", highlight=False)


@app.command(epilog="Example: flythinker push runs/sotu/flythinker/model me/presidents --private")
def push(
    folder: Annotated[Path, typer.Argument(help="A trained model folder.")],
    repo: Annotated[str, typer.Argument(help="Its name on the Hub: user/model.")],
    license_name: Annotated[
        str | None, typer.Option("--license", help="Default: what its README.md says.")
    ] = None,
    private: Annotated[bool, typer.Option(help="Only for those whom you let in.")] = False,
) -> None:
    """Put a model folder with its card on the Hugging Face Hub (`hf auth login` first)."""
    from huggingface_hub import HfApi

    from flythinker.card import set_license

    set_license(folder, license_name)
    api = HfApi()
    url = api.create_repo(repo, private=private, exist_ok=True)
    api.upload_folder(repo_id=url.repo_id, folder_path=folder, commit_message="Model and card")
    Console().print(f"{url}", highlight=False)


def _named(values: list[str], option: str) -> dict[str, str]:
    """`["a=x"]` → `{"a": "x"}`."""
    named = {}
    for value in values:
        name, equals, path = value.partition("=")
        if not equals or not name or not path or name in named:
            raise typer.BadParameter(f"{option} {value}: expected NAME=PATH with its own name")
        named[name] = path
    return named


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
