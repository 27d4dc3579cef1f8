"""Notes as people have them: dates, names, front matter, encodings, vaults."""

import os
from pathlib import Path

import pytest

from flythinker.data.example import Document
from flythinker.data.sources.read import READERS, read_path
from flythinker.data.sources.reading import Reading
from flythinker.errors import FlyThinkerError


def note(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    os.utime(path, (0, 0))
    return path


def only(path: Path, reading: Reading | None = None) -> Document:
    [document] = read_path(path, reading or Reading())
    return document


@pytest.mark.parametrize(
    ("field", "date"),
    [
        ("date: 2024-05-01", "2024-05-01"),
        ("date: 2024-05-01T20:30:00+02:00", "2024-05-01"),
        ("date: 2024-05-01 20:30", "2024-05-01"),
        ("date: 2024-5-1", "2024-05-01"),
        ("date: 20240501", "2024-05-01"),
        ("date: 2024-05", "2024-05"),
        ("date: 1 May 2024", "2024-05-01"),
        ("date: March 3, 2024", "2024-03-03"),
        ("date: 3 mars 2024", "2024-03-03"),
        ("date: March 2024", "2024-03"),
        ("date: 25/12/2024", "2024-12-25"),
        ("date: 1.5.2024", "2024-05-01"),
        ("date: [2024-05-01, 2024-06-01]", "2024-05-01"),
        ("date:\n  - 2024-05-01", "2024-05-01"),
        ("created: 2024-05-01", "2024-05-01"),
        ("Date: 2024-05-01", "2024-05-01"),
        ("published: 2024-05-01\nupdated: 2025-01-01", "2024-05-01"),
        ("updated: 2024-05-01", "2024-05-01"),
        ("title: Foo: bar\ndate: 2024-05-01", "2024-05-01"),
    ],
)
def test_dates_of_front_matter(tmp_path, field, date):
    reading = Reading(strict=True)
    assert only(note(tmp_path, "a.md", f"---\n{field}\n---\nText."), reading).date == date


@pytest.mark.parametrize(
    "written",
    ["2024-02-30", "0000-00-00", "!!timestamp x", "{{date}}", "20:30", "soon", "yesterday", "May"],
)
def test_what_is_no_date_is_named_and_the_note_read_without(tmp_path, written):
    path = note(tmp_path, "a.md", f"---\ndate: {written}\n---\nText.")
    reading = Reading()

    assert only(path, reading) == Document("Text.", "a", "")
    [remark] = reading.remarks
    assert remark.where == str(path)
    assert "is no date; without a date" in remark.what
    with pytest.raises(FlyThinkerError, match=r"a\.md: 'date: .*' is no date"):
        read_path(path, Reading(strict=True))


def test_day_or_month_first_is_asked_for(tmp_path):
    path = note(tmp_path, "a.md", "---\ndate: 01/05/2024\n---\nText.")
    reading = Reading()

    assert only(path, reading).date == ""
    assert "say --day-first or --month-first" in reading.remarks[0].what
    assert only(path, Reading(day_first=True)).date == "2024-05-01"
    assert only(path, Reading(day_first=False)).date == "2024-01-05"


@pytest.mark.parametrize(
    ("line", "title"),
    [
        ("title: yes", "yes"),
        ("title: [a, b]", "[a, b]"),
        ("title: 20:30", "20:30"),
        ("title: Foo: bar", "Foo: bar"),
        ('title: "Quoted: well"', "Quoted: well"),
        ("Title: On rain", "On rain"),
    ],
)
def test_titles_are_the_text_that_was_written(tmp_path, line, title):
    path = note(tmp_path, "a.md", f"---\n{line}\n---\nText.")
    assert only(path, Reading(strict=True)).title == title


def test_hugos_toml_front_matter(tmp_path):
    text = "+++\ntitle = 'On rain'\ndate = 2024-05-01T10:00:00Z\ndraft = true\n+++\nIt rained."
    assert only(note(tmp_path, "a.md", text)) == Document("It rained.", "On rain", "2024-05-01")


def test_a_rule_is_no_front_matter(tmp_path):
    assert only(note(tmp_path, "a.md", "---\nOne.\n---\nTwo.")).text == "---\nOne.\n---\nTwo."


@pytest.mark.parametrize(
    ("name", "date", "title"),
    [
        ("1984 by Orwell.md", "1970-01-01", "1984 by Orwell"),
        ("2048 tiles.md", "1970-01-01", "2048 tiles"),
        ("2024_05_01 x.md", "2024-05-01", "x"),
        ("20240501 x.md", "2024-05-01", "x"),
        ("202405011230 x.md", "2024-05-01", "x"),
        ("2024-05 plans.md", "2024-05", "plans"),
        ("2024-05-01.md", "2024-05-01", "2024-05-01"),
        ("2024-13-01 x.md", "1970-01-01", "2024 13 01 x"),
    ],
)
def test_dates_and_titles_of_file_names(tmp_path, name, date, title):
    found = only(note(tmp_path, name, "Text."))
    assert (found.date, found.title) == (date, title)


def test_a_comment_in_code_is_no_title_and_code_no_text(tmp_path):
    text = "Before.\n\n```sh\n# install everything\npip install x\n```\n\nAfter."
    found = only(note(tmp_path, "set-up.md", text))
    assert (found.title, found.text) == ("set up", "Before.\n\nAfter.")


def test_what_the_person_did_not_write_goes(tmp_path):
    text = (
        "# Day\n\nI met [[People/Ann|Ann]] at the [[harbour]]. ![[photo.png]]<!-- a\ncomment -->"
        "![A boat](boat.jpg)We read [a book](https://x.org/a_(b)). %%hidden%%It was good."
    )
    found = only(note(tmp_path, "a.md", text))
    assert found.text == "I met Ann at the harbour. We read a book. It was good."


def test_mdx_markdown_and_org(tmp_path):
    mdx = note(
        tmp_path, "a.mdx", "import X from './x'\n\n# Rain\n\n<X a={1} />\n\nIt <b>rained</b>."
    )
    assert only(mdx) == Document("It rained.", "Rain", "1970-01-01")
    assert only(note(tmp_path, "b.markdown", "# Sun\n\nIt shone.")).title == "Sun"
    org = (
        "#+TITLE: Snow\n#+DATE: [2024-05-01 Wed 10:00]\n:PROPERTIES:\n:ID: 1\n:END:\n* TODO One\n"
        "It [[https://x.org][snowed]].\n#+BEGIN_SRC sh\nls\n#+END_SRC\n#+begin_quote\nSo.\n"
        "#+end_quote\n"
    )
    found = only(note(tmp_path, "c.org", org))
    assert found == Document("# One\nIt snowed.\nSo.", "Snow", "2024-05-01")


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-8-sig", "Café."),
        ("utf-16", "Der Fluß führte Wasser. " * 5),
        ("cp1252", "“Café”, she said – twice."),
        ("cp1251", "Вчера вечером шёл сильный дождь, и река вышла из берегов. " * 4),
        ("shift_jis", "昨日の夜は雨が降っていました。川の水があふれました。" * 4),
    ],
)
def test_encodings_are_detected(tmp_path, encoding, text):
    reading = Reading()
    assert only(note(tmp_path, "a.txt", text.encode(encoding)), reading).text == text.strip()
    assert bool(reading.remarks) == (not encoding.startswith("utf"))


def test_a_vault_as_it_is(tmp_path):
    """Hidden folders, a dangling link, a folder named as a note, a file that is no text."""
    note(tmp_path, "good.md", "Text.")
    for hidden in (".obsidian/plugins/readme.md", ".trash/deleted.md", ".hidden.md"):
        note(tmp_path, hidden, "Not mine.")
    note(tmp_path, "binary.md", b"\x00\xff\x00\xfe" * 20)
    note(tmp_path, "picture.png", b"\x89PNG")
    (tmp_path / "notes.md").mkdir()
    (tmp_path / "gone.md").symlink_to(tmp_path / "nowhere.md")
    (tmp_path / "round").symlink_to(tmp_path)
    reading = Reading()

    assert only(tmp_path, reading).text == "Text."
    skipped = {Path(one.where).name: one.what for one in reading.skipped}
    assert skipped == {
        "binary.md": "not a text (NUL bytes in it)",
        "gone.md": "a link to nothing",
    }
    assert set(reading.left_out) == {
        "folders named .obsidian",
        "folders named .trash",
        ".png files",
        "links to folders",
    }
    with pytest.raises(FlyThinkerError, match=r"(binary|gone)\.md: "):
        read_path(tmp_path, Reading(strict=True))


def test_a_file_that_may_not_be_read_is_skipped_and_named(tmp_path, monkeypatch):
    def refuse(file, reading):
        raise PermissionError(13, "Permission denied")

    note(tmp_path, "good.txt", "Text.")
    note(tmp_path, "secret.md", "Text.")
    monkeypatch.setitem(READERS, ".md", refuse)  # whoever runs the tests may read everything
    reading = Reading()
    assert only(tmp_path, reading).title == "good"
    assert [(Path(one.where).name, one.what) for one in reading.skipped] == [
        ("secret.md", "Permission denied")
    ]


def test_a_single_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(FlyThinkerError, match=r"a\.txt: not a text"):
        read_path(note(tmp_path, "a.txt", b"\x00\x01\xff"), Reading())
    with pytest.raises(FlyThinkerError, match=r"a\.exe: give a folder, or a file of past texts"):
        read_path(note(tmp_path, "a.exe", b"x"), Reading())
