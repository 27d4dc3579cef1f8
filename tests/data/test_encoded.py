"""Kept rows are the rows that encoding gives, and other settings give other ones."""

from dataclasses import replace
from pathlib import Path

import pytest

from flythinker.data import encoded
from flythinker.data.batch import encode
from flythinker.data.example import read_examples, sample_examples, write_examples
from flythinker.data.prompt import PromptConfig
from flythinker.data.write_corpus import write_corpus
from flythinker.errors import FlyThinkerError

PROMPT = PromptConfig(k=2, profile_tokens=60, query_tokens=40, response_tokens=60)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLYTHINKER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(encoded, "MIN_ROWS", 2)
    return tmp_path / "cache" / "rows"


def columns(rows) -> list[dict]:
    """Rows as plain dictionaries, from wherever they are."""
    return [dict(row) for row in rows]


@pytest.fixture
def once(data, tmp_path) -> Path:
    """The training file of `data` with its documents stored once."""
    write_corpus(tmp_path / "once", {"train.jsonl": read_examples(data / "train.jsonl")})
    return tmp_path / "once" / "train.jsonl"


@pytest.mark.parametrize("reasoner_k", [None, 0, 3])
@pytest.mark.parametrize("form", ["whole", "once"])
def test_kept_rows_are_the_same_rows(data, once, tokenizer, monkeypatch, reasoner_k, form):
    prompt = replace(PROMPT, reasoner_k=reasoner_k)
    path = str(once if form == "once" else data / "train.jsonl")
    examples = read_examples(data / "train.jsonl")
    expected = encode(sample_examples(examples, 7), tokenizer, prompt)
    assert columns(encoded.encode_file(path, 7, tokenizer, prompt)) == expected
    monkeypatch.setattr(encoded, "_encode_into", None)  # nothing is encoded again
    rows = encoded.encode_file(path, 7, tokenizer, prompt)
    assert columns(rows) == expected
    assert rows[2:4] == expected[2:4]
    assert rows.lengths() == [len(row["input_ids"]) for row in expected]
    assert rows.learned_whole()[1] == {**expected[1], "labels": expected[1]["input_ids"]}


def test_several_processes_make_the_rows_that_one_makes(data, once, tokenizer, cache, capfd):
    expected = encode(sample_examples(read_examples(data / "train.jsonl"), None), tokenizer, PROMPT)
    rows = encoded.encode_file(str(once), None, tokenizer, PROMPT, processes=2)
    assert len(list(next(path for path in cache.iterdir() if path.is_dir()).glob("*.arrow"))) == 2
    assert columns(rows) == expected
    assert capfd.readouterr().err == ""


def test_a_killed_run_goes_on_where_a_process_was_done(once, tokenizer, cache, monkeypatch):
    made = encoded._encode_lines
    first = encoded.encode_file(str(once), None, tokenizer, PROMPT, processes=2)
    [folder] = [path for path in cache.iterdir() if path.is_dir()]
    expected = columns(first)
    folder.rename(folder.with_name(f"{folder.name}.unfinished"))
    (cache / f"{folder.name}.unfinished" / "rows_00001_of_00002.arrow").unlink()

    calls = folder.parent / "calls"

    def counted(lines, **settings):
        with calls.open("a") as file:
            file.write("x" * len(lines["offset"]))
        return made(lines, **settings)

    monkeypatch.setattr(encoded, "_encode_lines", counted)
    assert columns(encoded.encode_file(str(once), None, tokenizer, PROMPT, processes=2)) == expected
    assert len(calls.read_text()) == len(expected) / 2


def test_other_settings_and_other_texts_are_other_rows(
    data, tokenizer, tmp_path, cache, monkeypatch
):
    path = tmp_path / "mine.jsonl"
    examples = read_examples(data / "train.jsonl")
    write_examples(path, examples)

    def kept() -> int:
        return sum(path.is_dir() for path in cache.iterdir())

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
