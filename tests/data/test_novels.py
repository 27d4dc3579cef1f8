"""Novels: what is held out is nowhere else, and mistakes name their place."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from flythinker.data.check import check_examples
from flythinker.data.example import read_examples
from flythinker.data.novels import (
    MAX_WORDS,
    OUTER,
    TEST_PASSAGES,
    VALIDATION_PASSAGES,
    build_novels,
    read_novels,
)
from flythinker.data.passages import cut_passages
from flythinker.errors import FlyThinkerError

# author, title, year: Ada has four books, two of one year; Bob three; Cid two years only
BOOKS = [
    ("Ada", "First", 1801),
    ("Ada", "Second", 1805),
    ("Ada", "Twin", 1805),
    ("Ada", "Last", 1810),
    ("Bob", "One", 1850),
    ("Bob", "Two", 1851),
    ("Bob", "Three", 1852),
    ("Cid", "Here", 1900),
    ("Cid", "There", 1901),
]


def novel(title: str, passages: int = 70) -> str:
    """Sentences that no other book has: each word holds the title and a number."""
    sentences = []
    for n in range(passages * 12):
        words = " ".join(f"{title.lower()}{letter * (n % 7 + 1)}x" for letter in "abcdefghijklmnop")
        sentences.append(f"Then {n} came {words}.")
    paragraphs = [" ".join(sentences[i : i + 3]) for i in range(0, len(sentences), 3)]
    return "\n\n".join(paragraphs)


@pytest.fixture(scope="module")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("novels") / "novels.parquet"
    columns = ("author", "title", "year")
    table = {name: [book[i] for book in BOOKS] for i, name in enumerate(columns)}
    table["text"] = [novel(title) for _, title, _ in BOOKS]
    pyarrow.parquet.write_table(pyarrow.table(table), path)
    return path


@pytest.fixture(scope="module")
def splits(parquet: Path):
    return build_novels(parquet, history=3)


def titles_in(text: str) -> set[str]:
    return {title for _, title, _ in BOOKS if f"{title.lower()}ax" in text}


def read(example) -> str:
    return "\n".join(document.text for document in example.history)


def test_the_held_out_book_is_in_no_training_text_and_no_history(splits):
    held_out = {"Last", "Three"}
    for example in splits["train"]:
        assert not (titles_in(example.target) | titles_in(example.query)) & held_out
    for example in (example for examples in splits.values() for example in examples):
        assert not titles_in(read(example)) & held_out
    for name in ("val", "test"):
        assert {t for e in splits[name] for t in titles_in(e.target)} == held_out


def test_a_history_is_of_earlier_years_and_never_of_the_same_book(splits):
    years = {title: str(year) for _, title, year in BOOKS}
    authors = {title: author for author, title, _ in BOOKS}
    for example in (example for examples in splits.values() for example in examples):
        (own,) = titles_in(example.target)
        assert example.date == years[own]
        assert len(example.history) == 3
        for document in example.history:
            (title,) = titles_in(document.text)
            assert (title, document.date) == (document.title, years[title])
            assert authors[title] == example.user_id
            assert document.date < example.date  # books of one year are not in each other's
        assert not check_examples([example])


def test_each_author_counts_the_same(splits):
    for name, count in (("val", VALIDATION_PASSAGES), ("test", TEST_PASSAGES)):
        assert [e.user_id for e in splits[name]] == ["Ada"] * count + ["Bob"] * count
    texts = [e.target for name in ("val", "test") for e in splits[name]]
    assert len(set(texts)) == len(texts)
    assert {e.user_id for e in splits["train"]} == {"Ada", "Bob"}  # Cid's have nothing between


def test_passages_end_with_sentences_and_all_are_used(parquet, splits):
    two = next(d for d in read_novels(parquet)["Bob"] if d.title == "Two")
    passages = cut_passages(two.text, 140, MAX_WORDS)
    assert all(p.text.endswith(".") and len(p.text.split()) <= MAX_WORDS for p in passages)
    targets = [e.target for e in splits["train"] if titles_in(e.target) == {"Two"}]
    assert len(targets) == len(passages) - 2 * OUTER
    assert all(p.text.endswith(t) for p, t in zip(passages[OUTER:], targets, strict=False))


def test_the_same_file_gives_the_same_examples(parquet, splits):
    assert build_novels(parquet, history=3) == splits
    assert len(build_novels(parquet, history=1)["test"][0].history) == 1


def test_some_of_the_authors_have_the_same_examples(parquet, splits):
    some = build_novels(parquet, history=3, authors=1)
    (author,) = {e.user_id for e in some["train"]}
    assert some == {n: [e for e in all_ if e.user_id == author] for n, all_ in splits.items()}
    assert build_novels(parquet, history=3, authors=9) == splits


def test_a_folder_gives_what_the_parquet_file_does(parquet, splits, tmp_path):
    for author, documents in read_novels(parquet).items():
        for book in documents:
            name = f"{author}_{book.title}_{book.date}.txt"
            (tmp_path / name).write_text("\ufeff" + book.text, encoding="utf-8")
    assert build_novels(tmp_path, history=3) == splits


@pytest.mark.slow
def test_the_command_writes_files_that_pass_the_check(parquet, tmp_path):
    def flythinker(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "flythinker", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=os.environ)

    out = tmp_path / "data"
    done = flythinker("data", "build", "novels", "--path", str(parquet), "--out", str(out))
    assert done.returncode == 0, done.stderr
    files = [str(out / f"{name}.jsonl") for name in ("train", "val", "test")]
    assert flythinker("data", "check", *files).returncode == 0
    assert len(read_examples(files[2])) == 2 * TEST_PASSAGES
    missing = flythinker("data", "build", "novels", "--path", "no.parquet", "--out", str(out))
    assert missing.returncode == 1
    assert missing.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("year", 18, ":2: year: expected a year like 1847, got 18"),
        ("text", "  ", ":2: text: expected text, got '  '"),
        ("author", None, ":2: author: expected text, got None"),
    ],
)
def test_a_bad_row_is_named(tmp_path, column, value, reason):
    table = {"author": ["A", "A"], "title": ["T", "U"], "year": [1850, 1851], "text": ["x", "y"]}
    table[column][1] = value
    path = tmp_path / "novels.parquet"
    pyarrow.parquet.write_table(pyarrow.table(table), path)
    with pytest.raises(FlyThinkerError) as error:
        read_novels(path)
    assert str(error.value) == f"{path}{reason}"


def test_a_missing_column_and_other_files_are_named(tmp_path):
    path = tmp_path / "novels.parquet"
    pyarrow.parquet.write_table(
        pyarrow.table({"author": ["A"], "title": ["T"], "text": ["x"]}), path
    )
    with pytest.raises(FlyThinkerError, match="column 'year' is missing"):
        read_novels(path)
    path.write_text(json.dumps({}))
    with pytest.raises(FlyThinkerError, match="not a parquet file"):
        read_novels(path)
    with pytest.raises(FlyThinkerError, match="give a parquet file"):
        read_novels(tmp_path / "novels.csv")
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(FlyThinkerError, match=r"no \.txt file"):
        read_novels(folder)
    (folder / "Jane.txt").write_text("text")
    with pytest.raises(FlyThinkerError, match=r"Jane\.txt: expected a name like"):
        read_novels(folder)
    (folder / "Jane.txt").rename(folder / "Cbronte_Jane_soon.txt")
    with pytest.raises(FlyThinkerError, match=r"Cbronte_Jane_soon\.txt: year: expected a year"):
        read_novels(folder)
    (folder / "Cbronte_Jane_soon.txt").rename(folder / "Cbronte_Jane_1847.txt")
    with pytest.raises(FlyThinkerError, match="nothing to learn from"):
        build_novels(folder)
