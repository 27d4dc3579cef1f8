"""Kept rows are the rows that encoding gives, and other settings give other ones."""

from dataclasses import replace
from pathlib import Path

import pytest

from flythinker.data import encoded
from flythinker.data.batch import encode
from flythinker.data.example import read_examples, sample_examples, write_examples
from flythinker.data.prompt import PromptConfig
from flythinker.errors import FlyThinkerError

PROMPT = PromptConfig(k=2, profile_tokens=60, query_tokens=40, response_tokens=60)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLYTHINKER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(encoded, "MIN_ROWS", 2)
    return tmp_path / "cache" / "rows"


@pytest.mark.parametrize("reasoner_k", [None, 0, 3])
def test_kept_rows_are_the_same_rows(data, tokenizer, monkeypatch, reasoner_k):
    prompt = replace(PROMPT, reasoner_k=reasoner_k)
    path = str(data / "train.jsonl")
    expected = encode(sample_examples(read_examples(path), 7), tokenizer, prompt)
    assert encoded.encode_file(path, 7, tokenizer, prompt) == expected
    monkeypatch.setattr(encoded, "encode", None)  # nothing is encoded again
    assert encoded.encode_file(path, 7, tokenizer, prompt) == expected


def test_other_settings_and_other_texts_are_other_rows(
    data, tokenizer, tmp_path, cache, monkeypatch
):
    path = tmp_path / "mine.jsonl"
    examples = read_examples(data / "train.jsonl")
    write_examples(path, examples)

    def kept() -> int:
        return len(list(cache.glob("*.npz")))

    encoded.encode_file(str(path), None, tokenizer, PROMPT)
    encoded.encode_file(str(path), 5, tokenizer, PROMPT)
    encoded.encode_file(str(path), None, tokenizer, replace(PROMPT, k=1))
    monkeypatch.setattr(tokenizer, "chat_template", None)
    encoded.encode_file(str(path), None, tokenizer, PROMPT)
    write_examples(path, examples[1:])
    rows = encoded.encode_file(str(path), None, tokenizer, PROMPT)
    assert (kept(), len(rows)) == (5, len(examples) - 1)


def test_bad_data_is_named_as_ever(tokenizer, tmp_path):
    with pytest.raises(FlyThinkerError, match="no such file"):
        encoded.encode_file(str(tmp_path / "none.jsonl"), None, tokenizer, PROMPT)
