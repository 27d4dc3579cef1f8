"""Files of outputs: what was written to each example of a data file, one record an example."""

import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from textwrap import shorten
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
    """The outputs of a file or folder of shards, each with the example that it is about.

    They are matched by user and query, in whatever order they stand.

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
    written: dict[tuple[str, str], deque[str]] = {}
    wanted = {(example.user_id, example.query) for example in examples}
    for where, record in records:
        if isinstance(record, FlyThinkerError):
            raise record
        try:
            about, output = (record["user_id"], record["query"]), record["output"]
            known = about in wanted
        except (KeyError, TypeError) as error:
            raise FlyThinkerError(f"{where}: not an output line: {error}") from None
        if not known:
            raise FlyThinkerError(
                f"{where}: is about another example than the data's (user {about[0]}); "
                "generate and evaluate the same data with the same --limit"
            )
        written.setdefault(about, deque()).append(output)
    outputs = []
    for example in examples:  # of the same user and query in turn
        left = written.get((example.user_id, example.query))
        if not left:
            raise FlyThinkerError(
                f"{path}: no output for user {example.user_id}, '{shorten(example.query, 60)}', or "
                "fewer of them than the data has such examples"
            )
        outputs.append(left.popleft())
    return outputs


def _records(path: Path) -> Iterator[tuple[int, Any]]:
    return read_records(path) if path.suffix == ".parquet" else read_json_lines(path)
