"""`flythinker write` and `flythinker generate`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from flythinker.cli.options import (
    ActorCpus,
    Actors,
    DataFile,
    Dtype,
    Limit,
    Model,
    Quantized,
    Ray,
    RayAddress,
    ShardRows,
)
from flythinker.cli.reading import DayFirst, Senders, Strict, print_problems, reading_of

if TYPE_CHECKING:
    from flythinker.data.example import Document
    from flythinker.data.prompt import Prompt
    from flythinker.data.sources.reading import Reading
    from flythinker.model_folder import PersonalModel

app = typer.Typer()

MaxNewTokens = Annotated[int, typer.Option(help="Longest response, in tokens.", min=1)]
Temperature = Annotated[float, typer.Option(help="0 decodes greedily.", min=0.0)]
TopP = Annotated[float, typer.Option(help="Nucleus sampling.", min=0.0, max=1.0)]
Seed = Annotated[int, typer.Option(help="The same seed gives the same text.")]


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
        Path | None, typer.Option(help="Or past texts: a folder or a file (docs/import.md).")
    ] = None,
    adapter: Annotated[
        Path | None, typer.Option(help="What the model learned of the person: `flythinker adapt`.")
    ] = None,
    max_new_tokens: MaxNewTokens = 512,
    temperature: Temperature = 0.8,
    top_p: TopP = 0.95,
    seed: Seed = 0,
    dtype: Dtype = "auto",
    quantization: Quantized = None,
    strict: Strict = False,
    day_first: DayFirst = None,
    senders: Senders = None,
) -> None:
    """Write one text as a user would; it streams."""
    from flythinker.adapter import load_adapter, merge_adapter
    from flythinker.data.example import Example
    from flythinker.data.prompt import build_prompt
    from flythinker.generation.sampling import Sampling
    from flythinker.generation.write import text_writer
    from flythinker.hardware import as_dtype
    from flythinker.model_folder import load_model_folder

    if (user is None) == (history is None):
        raise typer.BadParameter("give either --user or --history")
    if adapter is not None and quantization is not None:
        raise typer.BadParameter("--adapter changes whole weights: leave --quantization out")
    learned = load_adapter(adapter) if adapter is not None else None
    personal = load_model_folder(model, dtype=as_dtype(dtype), quantization=quantization)
    if learned is not None:
        merge_adapter(personal.model, learned, str(adapter))
    reading = reading_of(strict, day_first, senders)
    documents = _past_texts(personal, history, data, user, reading)
    print_problems(reading)
    example = Example(user or "me", query, "", tuple(documents))
    prompt = build_prompt(example, personal.tokenizer, personal.prompt)
    Console(stderr=True, style="dim").print(_what_was_read(personal, prompt, documents))
    sampling = Sampling(max_new_tokens, temperature, top_p, seed)
    for piece in text_writer(personal, slots=1).stream(prompt, sampling):
        print(piece, end="", flush=True)
    print()


def _past_texts(
    personal: "PersonalModel",
    history: Path | None,
    data: Path | None,
    user: str | None,
    reading: "Reading",
) -> "list[Document]":
    from flythinker.data.history import history_of_user, read_history

    if history is not None:
        return read_history(history, reading)
    recorded = personal.training.get("data", {})
    file = data or recorded.get("validation") or recorded.get("train")
    if file is None:
        raise typer.BadParameter("--user needs --data: this model has no training data")
    return history_of_user(Path(file), str(user))


def _what_was_read(
    personal: "PersonalModel", prompt: "Prompt", documents: "Sequence[Document]"
) -> str:
    if prompt.documents:
        titles = ", ".join(document.title or "untitled" for document in prompt.documents)
        return f"personalized from {len(prompt.documents)} of {len(documents)} texts: {titles}"
    if documents:
        budget = f"profile_tokens={personal.prompt.profile_tokens}"
        return f"none of {len(documents)} texts fits into {budget}: this is un-personalized"
    return "no past texts: this is un-personalized"


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
    sampling = Sampling(max_new_tokens, temperature, top_p, seed)
    if ray:
        from flythinker.bulk.generate import BulkSetting, generate_shards
        from flythinker.bulk.pool import Pool

        setting = BulkSetting(model, sampling, shard_rows, batch_size, shard_format, engine, dtype)
        generate_shards(examples, setting, Pool(ray_address, actors, actor_cpus), out)
        Console().print(f"{len(examples)} outputs in {out}/", highlight=False)
        return
    personal = load_model_folder(model, dtype=as_dtype(dtype))
    prompts = build_prompts(examples, personal.tokenizer, personal.prompt)
    writer = text_writer(personal, batch_size)
    generate_file(prompts, writer.write_each, examples, out, sampling)
    Console().print(f"{len(examples)} outputs in {out}", highlight=False)
