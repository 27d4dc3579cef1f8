"""Encoded rows of a data file: made in several processes, kept, and read from the disk as needed.

Many runs of a comparison read the same rows, and of 100,000 examples neither texts nor rows need be
in memory at once.
"""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock
from transformers import PreTrainedTokenizerBase

from flythinker.data import (
    batch,
    document,
    finder,
    language,
    profile,
    prompt,
    retrieval,
    sentences,
    template,
    term_index,
    words,
    writings,
)
from flythinker.data.batch import Row, encode
from flythinker.data.example import (
    Parse,
    data_hash,
    example_parser,
    read_examples,
    refers_to,
    sample_examples,
    sample_places,
)
from flythinker.data.lines import ExampleLines, read_line
from flythinker.data.processes import cores
from flythinker.data.prompt import PromptConfig, build_prompt
from flythinker.data.rows import Rows
from flythinker.data.write_corpus import write_corpus
from flythinker.files import content_hash, user_cache
from flythinker.progress import Lines, in_terminal

MIN_ROWS = 500  # fewer are encoded in seconds
ROWS_A_PROCESS = 1_000  # for fewer it is not worth starting another one
# rows made by other code are other rows
_MADE_BY = (
    *(batch, document, finder, language, profile, prompt, retrieval, sentences),
    *(template, term_index, words, writings),
)


def encode_file(
    path: str,
    limit: int | None,
    tokenizer: PreTrainedTokenizerBase,
    config: PromptConfig,
    processes: int | None = None,
) -> Sequence[Row]:
    """`encode` of the first `limit` examples of the file's fixed shuffle, made once.

    `MIN_ROWS` rows or more are kept in the user's cache by the file's content and all they depend
    on: a second run reads no example at all. They are made user by user in `processes` (default:
    as many as there are cores), and one that was killed goes on where a process was done.

    Raises:
        FlyThinkerError: bad data, naming file and line.
    """
    if not Path(path).is_file():
        return encode(read_examples(path), tokenizer, config)  # raises, in the words of all readers
    key = {
        "file": data_hash(path),
        "limit": limit,
        "tokenizer": tokenizer.backend_tokenizer.to_str(),
        "template": tokenizer.chat_template,
        "prompt": asdict(config),
        "code": _code_hash(),
    }
    name = sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]
    folder = user_cache() / "rows" / name
    if folder.exists():
        return Rows.load(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = folder.with_name(f"{name}.unfinished")
    with FileLock(folder.with_suffix(".lock")):  # of runs side by side one makes them
        if folder.exists():
            return Rows.load(folder)
        source = _Examples(Path(path), limit, work)
        if len(source.order) < MIN_ROWS:
            shutil.rmtree(work, ignore_errors=True)
            examples = sample_examples(read_examples(path), limit)
            return encode(examples, tokenizer, config)
        _encode_into(work, source, tokenizer, config, processes)
        work.rename(folder)
    return Rows.load(folder)


class _Examples:
    """The examples to encode, in a file that refers to a corpus.

    Attributes:
        path: of the file; one that holds whole histories is copied, its texts stored once.
        offsets: of the examples' lines in it, a user's one after the other; `[rows]`.
        order: where the first example of the sample is among them, the second, …; `[rows]`.
    """

    def __init__(self, path: Path, limit: int | None, work: Path) -> None:
        if path.suffix.lower() != ".jsonl" or refers_to(path) is None:
            examples = read_examples(path)
            self.order = np.zeros(min(len(examples), limit or len(examples)), dtype=np.int64)
            if len(self.order) < MIN_ROWS:
                return
            path = work / "texts" / "examples.jsonl"
            if not path.exists():
                write_corpus(path.parent, {path.name: examples})
        self.path = path
        lines = ExampleLines(path)
        sample = np.array(sample_places(len(lines), limit), dtype=np.int64)
        by_user = np.argsort(lines.users[sample], kind="stable")
        self.offsets = lines.offsets[sample][by_user]
        self.order = np.argsort(by_user)


def _encode_into(
    work: Path,
    source: _Examples,
    tokenizer: PreTrainedTokenizerBase,
    config: PromptConfig,
    processes: int | None,
) -> None:
    """Leave in a folder what `Rows.load` opens; what an earlier run has finished there is kept."""
    from datasets import Dataset, Features, List, Value

    work.mkdir(parents=True, exist_ok=True)
    np.save(work / "order.npy", source.order)
    ids = List(Value("int32"))
    columns = {"input_ids": ids, "prompt_length": Value("int32")}
    if config.reasoner_k is not None:
        columns["reasoner_ids"] = ids
    if processes is None:
        processes = min(cores(), len(source.offsets) // ROWS_A_PROCESS)
    about = f"Making prompts of {len(source.offsets)} examples"
    with _shown(about):
        Dataset.from_dict({"offset": source.offsets}).map(
            _encode_lines,
            batched=True,
            batch_size=100,
            writer_batch_size=1_000,
            remove_columns=["offset"],
            features=Features(columns),
            fn_kwargs={"path": source.path, "tokenizer": tokenizer, "config": config},
            num_proc=processes if processes > 1 else None,
            cache_file_name=str(work / "rows.arrow"),
            new_fingerprint=work.stem,
            desc=about,
        )
    shutil.rmtree(work / "texts", ignore_errors=True)


def _encode_lines(
    lines: dict[str, list[int]],
    path: Path,
    tokenizer: PreTrainedTokenizerBase,
    config: PromptConfig,
) -> dict[str, list[Any]]:
    """Columns of the rows of some lines; runs in a process of its own."""
    file, parse = _opened(path)
    columns: dict[str, list[Any]] = {"input_ids": [], "prompt_length": []}
    if config.reasoner_k is not None:
        columns["reasoner_ids"] = []
    for offset in lines["offset"]:
        file.seek(offset)
        example = read_line(file.readline(), f"{path}, byte {offset}", parse)
        row = batch.encode_prompt(build_prompt(example, tokenizer, config))
        for name, values in columns.items():
            values.append(row[name])  # type: ignore[literal-required]
    return columns


@lru_cache(maxsize=1)
def _opened(path: Path) -> tuple[BinaryIO, Parse]:
    return path.open("rb"), example_parser(path)


@contextmanager
def _shown(about: str) -> Iterator[None]:
    """Show how far it is, by datasets' bar or in lines; tokenizers start no threads of their own.

    Several processes of several threads each would be in each other's way.
    """
    from datasets import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    before, disabled = os.environ.get("TOKENIZERS_PARALLELISM"), are_progress_bars_disabled()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        if in_terminal():
            enable_progress_bars()
            yield
        else:
            disable_progress_bars()
            with Lines(about, None):
                yield
    finally:
        (disable_progress_bars if disabled else enable_progress_bars)()
        if before is None:
            del os.environ["TOKENIZERS_PARALLELISM"]
        else:
            os.environ["TOKENIZERS_PARALLELISM"] = before


@cache
def _code_hash() -> str:
    hashes = [content_hash(str(module.__file__)) for module in _MADE_BY]
    return sha256("".join(hashes).encode()).hexdigest()
