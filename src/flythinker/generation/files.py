"""Filling a data file with outputs: batched, resumable, never half written."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from flythinker.data.example import Example, read_records
from flythinker.data.prompt import Prompt
from flythinker.disk import named_when_full, require_room
from flythinker.errors import FlyThinkerError
from flythinker.files import atomic_write, complete_lines
from flythinker.generation.sampling import Sampling
from flythinker.progress import track

Respond = Callable[[Sequence[Prompt], Sampling], list[str]]


def generate_file(
    prompts: Sequence[Prompt],
    respond: Respond,
    examples: Sequence[Example],
    out: Path,
    sampling: Sampling,
    batch_size: int = 8,
    description: str = "Writing",
) -> None:
    """Write a response to every example, one JSON line each, in the examples' order.

    `prompts` are the examples', and `respond` writes a batch of them.

    A line holds `user_id`, `query`, `target` and `output`. Finished batches are kept in
    `OUT.partial`, so that a run that was killed goes on where it was; sampling is seeded by the
    batch, so it ends with the same texts. `out` appears when all are written.

    Raises:
        FlyThinkerError: `OUT.partial` was begun with other settings.
        DiskFull: there is no room, already at the start for what surely will be written.
    """
    require_room(out, least_output_bytes(examples), advice="choose another --out")
    # Rows of like length share a batch, the longest first: too large a batch fails at once.
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i].prompt_ids))
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]

    partial = out.with_name(out.name + ".partial")
    settings = json.dumps(asdict(sampling) | {"examples": len(examples), "batch_size": batch_size})
    with named_when_full(partial):
        outputs = _start_or_resume(partial, settings)
    # a batch's seed follows from its number
    missing = [
        (number, batch)
        for number, batch in enumerate(batches)
        if not all(index in outputs for index in batch)
    ]
    done = len(batches) - len(missing)
    with named_when_full(partial), partial.open("a", encoding="utf-8") as file:
        for number, batch in track(missing, description, done=done, unit="/batch"):
            texts = respond(
                [prompts[i] for i in batch], replace(sampling, seed=sampling.seed + number)
            )
            outputs |= zip(batch, texts, strict=True)
            lines = (json.dumps([index, outputs[index]]) + "\n" for index in batch)
            file.write("".join(lines))
            file.flush()
    write_outputs(out, examples, [outputs[index] for index in range(len(examples))])
    partial.unlink()


def least_output_bytes(examples: Iterable[Example]) -> int:
    """What `write_outputs` writes at least: without the outputs, whose length nobody knows."""
    return sum(len(example.query) + len(example.target) for example in examples)


def write_outputs(out: Path, examples: Sequence[Example], outputs: Sequence[str]) -> None:
    """Write one line an example: `user_id`, `query`, `target` and `output`.

    `out` is JSONL, or parquet if its name says so.
    """
    records = [
        {"user_id": e.user_id, "query": e.query, "target": e.target, "output": output}
        for e, output in zip(examples, outputs, strict=True)
    ]
    if out.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        with atomic_write(out, binary=True) as file:
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), file)
        return
    with atomic_write(out) as file:
        file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def read_outputs(path: Path, examples: Sequence[Example]) -> list[str]:
    """The outputs of a generated file or folder of shards, checked to be about these examples.

    Raises:
        FlyThinkerError: naming the first line that is not about its example.
    """
    if not path.exists():
        raise FlyThinkerError(f"{path}: no such file; make it with `flythinker generate`")
    shards = sorted(path.glob("part-*")) if path.is_dir() else [path]
    lines = [line for shard in shards for line in _read_lines(shard)]
    if len(lines) != len(examples):
        raise FlyThinkerError(
            f"{path}: {len(lines)} outputs for {len(examples)} examples; "
            "generate and evaluate the same data with the same --limit"
        )
    outputs = []
    for (where, line), example in zip(lines, examples, strict=True):
        try:
            record = json.loads(line) if isinstance(line, str) else line
            about = (record["user_id"], record["query"])
            outputs.append(record["output"])
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise FlyThinkerError(f"{where}: not an output line: {error}") from None
        if about != (example.user_id, example.query):
            raise FlyThinkerError(
                f"{where}: is about another example than the data's (user {about[0]}); "
                "generate and evaluate the same data with the same --limit"
            )
    return outputs


def _read_lines(path: Path) -> list[tuple[str, str | dict[str, Any]]]:
    """Lines of JSON, or rows of parquet, each with where it stands."""
    rows: Iterable[tuple[int, Any]]
    if path.suffix == ".parquet":
        rows = read_records(path)
    else:
        rows = enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
    return [(f"{path}:{number}", row) for number, row in rows]


def _start_or_resume(partial: Path, settings: str) -> dict[int, str]:
    """Outputs that an interrupted run left in `partial`, whose first line are its settings."""
    begun_with, *lines = complete_lines(partial) or [settings]
    if begun_with != settings:
        raise FlyThinkerError(
            f"{partial} was begun with other settings ({begun_with}): "
            "use them again, delete it, or choose another --out"
        )
    if not lines:
        partial.write_text(settings + "\n", encoding="utf-8")
    return dict(json.loads(line) for line in lines)
