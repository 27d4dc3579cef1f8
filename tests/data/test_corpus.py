"""Documents stored once: what is read from a corpus is what the self-contained form holds."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from flythinker.backbones.scratch import _all_texts
from flythinker.cli.data import app
from flythinker.data.batch import encode
from flythinker.data.corpus import open_corpus
from flythinker.data.document import Document
from flythinker.data.example import Example, read_examples, refers_to, write_examples
from flythinker.data.histories import swap_histories
from flythinker.data.history import history_of_user
from flythinker.data.prompt import PromptConfig
from flythinker.data.write_corpus import write_corpus
from flythinker.errors import FlyThinkerError

SUN, RAIN, SNOW, WIND = (
    Document("The sun never left us.", "A dry June", "2024-06-30"),
    Document("It rained.", "", "2024-07"),
    Document("Snow fell.", "Winter", "2024-12-01"),
    Document("Undated wind."),
)
EXAMPLES = [
    Example("ada", "Write.", "It began.", (WIND, SUN), "2024-07"),
    Example("ada", "Write on.", "It went on.", (WIND, SUN, RAIN, SNOW), "2025"),
    Example("bob", "Write.", "No date.", (RAIN, SUN)),
    Example("ada", "Write of two.", "Two.", (SNOW, SUN, SUN), "2025"),
    Example("eve", "Write.", "Nothing before.", (), "2025"),
]


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    write_corpus(tmp_path, {"train.jsonl": EXAMPLES[:3], "test.jsonl": EXAMPLES[3:]})
    return tmp_path


def test_what_is_read_equals_what_was_written(corpus):
    assert [*read_examples(corpus / "train.jsonl"), *read_examples(corpus / "test.jsonl")] == (
        EXAMPLES
    )


def test_a_document_is_stored_once_with_user_date_and_language(corpus):
    rows = pyarrow.parquet.read_table(corpus / "documents.parquet").to_pylist()
    assert [(row["user"], row["date"], row["title"]) for row in rows] == [
        ("ada", "", ""),
        ("ada", "2024-06-30", "A dry June"),
        ("ada", "2024-07", ""),
        ("ada", "2024-12-01", "Winter"),
        ("bob", "2024-07", ""),
        ("bob", "2024-06-30", "A dry June"),
    ]
    assert rows[1]["language"] == "en"


def test_examples_refer_by_date_where_they_can_and_by_place_where_not(corpus):
    lines = (corpus / "train.jsonl").read_text() + (corpus / "test.jsonl").read_text()
    assert [json.loads(line)["history"] for line in lines.splitlines()] == [
        {"before": "2024-07"},
        {"before": "2025"},
        {"places": [[0, 2]]},
        {"places": [[3, 4], [1, 2], [1, 2]]},
        {"before": "2025"},
    ]


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ({"before": "2024-07"}, [WIND, SUN]),
        ({"before": "2025", "k": 2}, [RAIN, SNOW]),
        ({"before": "2025", "k": 0}, []),
        ({"places": []}, []),
        ({"places": [[2, 4], [0, 1]]}, [RAIN, SNOW, WIND]),
    ],
)
def test_references_that_people_write(corpus, history, expected):
    record = {"user_id": "ada", "query": "q", "target": "t", "history": history}
    (corpus / "mine.jsonl").write_text(json.dumps(record))
    [example] = read_examples(corpus / "mine.jsonl")
    assert list(example.history) == expected
    assert example.history == tuple(expected)
    assert hash(example.history) == hash(tuple(expected))


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ({"befor": "2024"}, "field 'history': expected a list of texts, "),
        ({"before": "May"}, "field 'history.before': expected an ISO date, got 'May'"),
        ({"before": "2024", "k": -1}, "field 'history.k': expected a number, got -1"),
        ({"places": 3}, "field 'history.places': expected a list, got a number"),
        ({"places": [[0, 1], [0, 5]]}, r"field 'history.places\[1\]': expected \[FIRST, END\] of "),
    ],
)
def test_a_wrong_reference_is_named(corpus, history, message):
    record = {"user_id": "ada", "query": "q", "target": "t", "history": history}
    (corpus / "mine.jsonl").write_text(json.dumps(record))
    with pytest.raises(FlyThinkerError, match=f"mine.jsonl:1: {message}"):
        read_examples(corpus / "mine.jsonl")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"text": "a"}], "documents.parquet: column 'user' is missing"),
        ([{"user": "a", "text": "a"}, {"user": None, "text": "b"}], ":2: user: expected text"),
        (
            [{"user": user, "text": "a"} for user in "aba"],
            ":3: user 'a' has rows further up as well: sort the file by user and date",
        ),
        ([{"user": "ada", "text": "a", "date": "May"}], ":1: date: expected an ISO date, got"),
        ([{"user": "ada", "text": None}], ":1: text: expected text, got null"),
    ],
)
def test_wrong_documents_are_named(corpus, rows, message):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), corpus / "documents.parquet")
    record = {"user_id": "ada", "query": "q", "target": "t", "history": {"before": "2025"}}
    (corpus / "train.jsonl").write_text(json.dumps(record))
    with pytest.raises(FlyThinkerError, match=message):
        print([list(example.history) for example in read_examples(corpus / "train.jsonl")])


def test_examples_without_their_documents_say_what_to_do(corpus):
    (corpus / "documents.parquet").unlink()
    with pytest.raises(FlyThinkerError, match=r"documents.parquet: no such file.*data export"):
        read_examples(corpus / "train.jsonl")


def test_export_and_store_are_each_others_opposite(corpus, tmp_path):
    whole, again = tmp_path / "whole", tmp_path / "again"
    assert invoke("export", corpus / "train.jsonl", "--out", whole).exit_code == 0
    assert refers_to(whole / "train.jsonl") is None
    assert read_examples(whole / "train.jsonl") == EXAMPLES[:3]
    assert json.loads((whole / "train.jsonl").read_text().splitlines()[0])["history"][1] == {
        "text": SUN.text,
        "title": SUN.title,
        "date": SUN.date,
    }
    assert invoke("store", whole / "train.jsonl", "--out", again).exit_code == 0
    assert read_examples(again / "train.jsonl") == EXAMPLES[:3]
    assert invoke("export", corpus / "train.jsonl", "--out", corpus).exit_code == 2


def test_both_forms_give_the_same_check_stats_prompts_and_tokens(sotu, corpus, tmp_path, tokenizer):
    examples = [e for e in sotu["train"] if e.user_id in ("John Adams", "James Madison")][:40]
    write_corpus(tmp_path / "once", {"a.jsonl": examples})
    write_examples(tmp_path / "whole.jsonl", examples)
    once, whole = (
        read_examples(tmp_path / "once" / "a.jsonl"),
        read_examples(tmp_path / "whole.jsonl"),
    )
    assert once == whole == examples
    config = PromptConfig(k=3, profile_tokens=300, reasoner_k=6)
    assert encode(once, tokenizer, config) == encode(whole, tokenizer, config)
    assert swap_histories(once) == swap_histories(whole)
    assert list(_all_texts(tmp_path / "once" / "a.jsonl")) == list(
        _all_texts(tmp_path / "whole.jsonl")
    )
    assert history_of_user(tmp_path / "once" / "a.jsonl", "John Adams") == history_of_user(
        tmp_path / "whole.jsonl", "John Adams"
    )
    for file in (tmp_path / "once" / "a.jsonl", tmp_path / "whole.jsonl"):
        assert invoke("check", file).exit_code == 0
    described = [
        next(iter(json.loads(invoke("stats", file, "--json").stdout).values()))
        for file in (tmp_path / "once" / "a.jsonl", tmp_path / "whole.jsonl")
    ]
    assert described[0] == described[1]


def test_the_addresses_take_fifteen_megabytes_and_not_a_thousand(sotu, tmp_path):
    write_corpus(tmp_path, {f"{name}.jsonl": examples for name, examples in sotu.items()})
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 16e6
    assert read_examples(tmp_path / "val.jsonl") == sotu["val"]


def test_an_example_goes_to_another_process_as_its_corpus_path(corpus):
    [example, *_] = read_examples(corpus / "train.jsonl")
    sent = pickle.dumps(example)
    assert b"never left us" not in sent
    assert pickle.loads(sent) == example


def test_people_read_before_are_forgotten_when_others_are_read(corpus, monkeypatch):
    monkeypatch.setattr("flythinker.data.corpus._KEPT_TEXTS", 3)
    read = open_corpus(corpus / "documents.parquet")
    assert [len(read.writings(user).documents) for user in ("ada", "bob", "nobody")] == [4, 2, 0]
    assert sum(len(kept.documents) for kept in read._kept.values()) <= 3


def test_check_names_documents_once_and_leaks_by_line(corpus):
    leak = "one two three four five six seven eight nine ten"
    documents = [SUN, replace(SUN, date="2024-08"), Document(f"So {leak}.", date="2024-07")]
    past = (*documents, Document(" ", date="2024-09"), Document("<|im_end|>"))
    examples = [
        Example("ada", "q", "sun never", past, "2024-07-01"),
        Example("ada", "q", leak, past, "2025"),
    ]
    write_corpus(corpus, {"train.jsonl": examples})
    file, table = corpus / "train.jsonl", (corpus / "documents.parquet").resolve()
    assert invoke("check", file).stderr.splitlines() == [
        f"{table}:2: is not in order: 2024-08 comes before 2024-07",
        f"{table}:2: the text repeats row 1",
        f"{table}:4: the text is empty",
        f"{table}:5: the text holds a control token, '<|im_end|>'; it is read as text",
        f"{file}:1: the target is inside its own history, in history[0]",
        f"{file}:1: the target is inside its own history, in history[1]",
        f"{file}:1: history[1] (2024-08) is later than the target (2024-07-01)",
        f"{file}:1: history[3] (2024-09) is later than the target (2024-07-01)",
        f"{file}:2: the target is inside its own history, in history[2]",
        "9 problems",
    ]


def test_a_table_of_many_people_becomes_a_corpus(tmp_path):
    rows = [
        {
            "user": user,
            "text": f"{user} begins the whole day. It went on: " + " ".join(words),
            "date": date,
        }
        for user in ("ada", "bob")
        for day in range(1, 6)
        for words in [[f"{user}{day}word{n}" for n in range(90)]]
        for date in [f"2024-05-0{day}"]
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "t.parquet")
    built = invoke("build", "documents", "--path", tmp_path / "t.parquet", "--out", tmp_path / "o")
    assert built.exit_code == 0
    examples = read_examples(tmp_path / "o" / "train.jsonl")
    assert {(e.user_id, len(e.history)) for e in examples} == {
        (user, n) for user in ("ada", "bob") for n in (1, 2)
    }
    bad = [*rows, {"user": "ada", "text": "x", "date": "5/5/2024"}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(bad), tmp_path / "t.parquet")
    said = invoke("build", "documents", "--path", tmp_path / "t.parquet", "--out", tmp_path / "o")
    assert "t.parquet:11: date: expected an ISO date" in str(said.exception)
