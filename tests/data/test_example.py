import csv
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from flythinker.data.example import Document, Example, read_examples, write_examples
from flythinker.errors import FlyThinkerError

EXAMPLE = Example(
    user_id="ada",
    query="Write about rain.",
    target="It rained.\nThen “not”.",
    history=(Document("Sun.", "On sun", "2023"), Document("Wind.", date="2023-05-01")),
    date="2024-02-29",
)
RECORD = {
    "user_id": "ada",
    "query": "Write.",
    "target": "Rain.",
    "history": [{"text": "a"}, {"text": "b"}, {"text": "c"}],
}


def write_lines(path: Path, *records: object) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_written_examples_read_back_equal(tmp_path):
    write_examples(tmp_path / "a.jsonl", [EXAMPLE, EXAMPLE])

    examples = read_examples(tmp_path / "a.jsonl")

    assert examples == [EXAMPLE, EXAMPLE]
    assert examples[0].history[0] is examples[1].history[0]  # one object for equal documents


def test_reads_json_csv_and_parquet(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([RECORD]))
    with (tmp_path / "a.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, RECORD)
        writer.writeheader()
        writer.writerow(RECORD | {"history": json.dumps(RECORD["history"])})
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([RECORD]), tmp_path / "a.parquet")

    expected = [Example("ada", "Write.", "Rain.", (Document("a"), Document("b"), Document("c")))]
    for suffix in ("json", "csv", "parquet"):
        assert read_examples(tmp_path / f"a.{suffix}") == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"history": [{"text": "a"}, {"text": "b"}, {"text": None}]},
            "field 'history[2].text': expected text, got null",
        ),
        ({"history": [{"title": "a"}]}, "field 'history[0].text' is missing"),
        ({"history": ["a"]}, "field 'history[0]': expected an object, got text"),
        ({"history": "a"}, "field 'history': expected a list, got text"),
        ({"user_id": 7}, "field 'user_id': expected text, got a number"),
        ({"user_id": " "}, "field 'user_id' is empty; every example needs its user"),
        ({"qurey": "x"}, "unknown field 'qurey'; did you mean 'query'?"),
        (
            {"history": [{"text": "a", "titel": "b"}]},
            "unknown field 'history[0].titel'; did you mean 'title'?",
        ),
        (
            {"date": "2024-02-30"},
            "field 'date': expected an ISO date like 2024, 2024-05 or 2024-05-01, got '2024-02-30'",
        ),
        ({"date": "1 May 2024"}, "field 'date': expected an ISO date like 2024, 2024-05 or"),
    ],
)
def test_a_wrong_field_is_named_with_file_and_line(tmp_path, change, message):
    path = write_lines(tmp_path / "a.jsonl", RECORD, RECORD | change)

    with pytest.raises(FlyThinkerError) as error:
        read_examples(path)

    assert str(error.value).startswith(f"{path}:2: {message}")
    assert "\n" not in str(error.value)


def test_a_missing_field_is_named(tmp_path):
    record = {name: value for name, value in RECORD.items() if name != "query"}

    with pytest.raises(FlyThinkerError, match=r"a\.jsonl:1: field 'query' is missing"):
        read_examples(write_lines(tmp_path / "a.jsonl", record))


def test_a_line_that_is_not_json_is_named(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(RECORD) + "\n\n{'user_id': 1}\n")  # blank lines are skipped

    with pytest.raises(FlyThinkerError, match=r"a\.jsonl:3: not valid JSON: .* at column 2"):
        read_examples(path)


def test_a_broken_history_in_a_csv_is_named(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("user_id,query,target,history\nada,q,t,[oops\n")

    with pytest.raises(FlyThinkerError, match=r"a\.csv:2: field 'history': not valid JSON"):
        read_examples(path)


def test_a_csv_without_history_column_is_named(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("user_id,query,target\nada,q,t\n")

    with pytest.raises(FlyThinkerError, match=r"a\.csv:2: field 'history' is missing"):
        read_examples(path)


@pytest.mark.parametrize(
    ("name", "message"), [("no.jsonl", "no such file"), ("a.txt", "cannot read '.txt' files")]
)
def test_a_file_that_cannot_be_read(tmp_path, name, message):
    (tmp_path / "a.txt").touch()

    with pytest.raises(FlyThinkerError, match=message):
        read_examples(tmp_path / name)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.jsonl"
    write_examples(path, [EXAMPLE])

    def broken():
        yield EXAMPLE
        yield EXAMPLE
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_examples(path, broken())

    assert read_examples(path) == [EXAMPLE]
    assert list(tmp_path.iterdir()) == [path]
