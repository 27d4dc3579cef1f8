"""Encoded rows of a data file, kept: many runs of a comparison read the same ones."""

import json
from dataclasses import asdict
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from flythinker.data import batch, prompt, retrieval, sentences, template
from flythinker.data.batch import Row, encode
from flythinker.data.example import read_examples, sample_examples
from flythinker.data.prompt import PromptConfig
from flythinker.files import atomic_write, content_hash, user_cache

MIN_ROWS = 500  # fewer are encoded in seconds
# rows made by other code are other rows
_MADE_BY = (batch, prompt, retrieval, sentences, template)


def encode_file(
    path: str, limit: int | None, tokenizer: PreTrainedTokenizerBase, config: PromptConfig
) -> list[Row]:
    """`encode` of the first `limit` examples of the file's fixed shuffle, made once.

    `MIN_ROWS` rows or more are kept in the user's cache by the file's content and all they depend
    on: a second run reads no example at all.

    Raises:
        FlyThinkerError: bad data, naming file and line.
    """
    if not Path(path).is_file():
        return encode(read_examples(path), tokenizer, config)  # raises, in the words of all readers
    key = {
        "file": content_hash(path),
        "limit": limit,
        "tokenizer": tokenizer.backend_tokenizer.to_str(),
        "template": tokenizer.chat_template,
        "prompt": asdict(config),
        "code": _code_hash(),
    }
    name = sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]
    file = user_cache() / "rows" / f"{name}.npz"
    if file.exists():
        return _load(file)
    rows = encode(sample_examples(read_examples(path), limit), tokenizer, config)
    if len(rows) >= MIN_ROWS:
        _save(file, rows)
    return rows


def _save(file: Path, rows: list[Row]) -> None:
    arrays: dict[str, Any] = {
        "prompt_length": np.array([row["prompt_length"] for row in rows], dtype=np.int32),
        **_flat("input", [row["input_ids"] for row in rows]),
    }
    if rows and "reasoner_ids" in rows[0]:
        arrays |= _flat("reasoner", [row["reasoner_ids"] for row in rows])
    with atomic_write(file, binary=True) as handle:
        np.savez_compressed(handle, **arrays)


def _load(file: Path) -> list[Row]:
    with np.load(file) as arrays:
        lengths = arrays["prompt_length"].tolist()
        inputs = _split(arrays, "input")
        reasoner = _split(arrays, "reasoner") if "reasoner_ids" in arrays else None
    rows = []
    for i, (ids, n) in enumerate(zip(inputs, lengths, strict=True)):
        read = None if reasoner is None else reasoner[i][: len(reasoner[i]) - len(ids) + n]
        rows.append(batch.encode_prompt(prompt.Prompt(ids[:n], ids[n:], (), read)))
    return rows


def _flat(name: str, sequences: list[list[int]]) -> dict[str, NDArray[np.int32]]:
    ids = [np.array(sequence, dtype=np.int32) for sequence in sequences]
    return {
        f"{name}_ids": np.concatenate([*ids, np.zeros(0, dtype=np.int32)]),
        f"{name}_lengths": np.array([len(sequence) for sequence in ids], dtype=np.int32),
    }


def _split(arrays: "np.lib.npyio.NpzFile", name: str) -> list[list[int]]:
    ends = np.cumsum(arrays[f"{name}_lengths"])[:-1]
    return [part.tolist() for part in np.split(arrays[f"{name}_ids"], ends)]


@cache
def _code_hash() -> str:
    hashes = [content_hash(str(module.__file__)) for module in _MADE_BY]
    return sha256("".join(hashes).encode()).hexdigest()
