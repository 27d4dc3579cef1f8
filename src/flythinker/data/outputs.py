"""Files of outputs: what was written to each example of a data file, one record an example."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from flythinker.data.example import Example
from flythinker.data.records import read_json_lines, read_records
from flythinker.errors import FlyThinkerError
from flythinker.files import atomic_write


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
    records = [
        (f"{shard}:{number}", record) for shard in shards for number, record in _records(shard)
    ]
    if len(records) != len(examples):
        raise FlyThinkerError(
            f"{path}: {len(records)} outputs for {len(examples)} examples; "
            "generate and evaluate the same data with the same --limit"
        )
    outputs = []
    for (where, record), example in zip(records, examples, strict=True):
        if isinstance(record, FlyThinkerError):
            raise record
        try:
            about = (record["user_id"], record["query"])
            outputs.append(record["output"])
        except (KeyError, TypeError) as error:
            raise FlyThinkerError(f"{where}: not an output line: {error}") from None
        if about != (example.user_id, example.query):
            raise FlyThinkerError(
                f"{where}: is about another example than the data's (user {about[0]}); "
                "generate and evaluate the same data with the same --limit"
            )
    return outputs


def _records(path: Path) -> Iterator[tuple[int, Any]]:
    return read_records(path) if path.suffix == ".parquet" else read_json_lines(path)
