import os
from datetime import datetime

import pytest

from flythinker.data.folder import examples_from_documents, read_users
from flythinker.data.sources.read import read_path
from flythinker.data.sources.reading import Reading
from flythinker.errors import FlyThinkerError


def prose(tag: str, words: int = 200) -> str:
    names = [f"{tag}x{number}" for number in range(words)]
    return " ".join("The " + " ".join(names[i + 1 : i + 10]) + "." for i in range(0, words, 10))


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_title_and_date_come_from_front_matter_heading_name_or_file_time(tmp_path):
    write(tmp_path, "a.md", "---\ntitle: On rain\ndate: 2024-05-03\ntags: [x]\n---\nIt rained.")
    write(tmp_path, "2024-05-02-sunny-days.md", "# Sun\n\nIt shone.")
    write(tmp_path, "2024-05-01-first_try.txt", "# not a heading\nIn a text file.")
    old = write(tmp_path, "sub/notes.md", "Words before.\n\n## Later\n\nMore.")
    os.utime(old, (datetime(2020, 3, 4, 12).timestamp(),) * 2)
    write(tmp_path, "image.png", "no text")
    write(tmp_path, "empty.md", "---\ntitle: Nothing\n---\n")

    documents = read_path(tmp_path, Reading())

    assert [(d.date, d.title, d.text) for d in documents] == [
        ("2020-03-04", "Later", "Words before.\n\n## Later\n\nMore."),
        ("2024-05-01", "first try", "# not a heading\nIn a text file."),
        ("2024-05-02", "Sun", "It shone."),
        ("2024-05-03", "On rain", "It rained."),
    ]


def test_sub_folders_are_users_only_when_there_are_no_files(tmp_path):
    write(tmp_path, "ada/a.txt", "A.")
    write(tmp_path, "bob/b.txt", "B.")
    assert set(read_users(tmp_path)) == {"ada", "bob"}

    write(tmp_path, "c.txt", "C.")
    users = read_users(tmp_path)
    assert list(users) == [tmp_path.name]
    assert len(users[tmp_path.name]) == 3


def test_one_person_of_sub_folders_by_name_and_empty_folders_are_nothing(tmp_path):
    write(tmp_path, "ada/a.txt", "A.")
    write(tmp_path, "bob/picture.png", "no text")
    (tmp_path / "empty").mkdir()
    reading = Reading()

    assert list(read_users(tmp_path, reading=reading)) == ["ada"]
    assert "each sub-folder is a person; --user NAME makes one person of all" in reading.assumed
    assert [d.text for d in read_users(tmp_path, "me")["me"]] == ["A."]


@pytest.mark.parametrize("path", ["nowhere", "."])
def test_a_missing_or_empty_folder_is_named(tmp_path, path):
    with pytest.raises(FlyThinkerError, match=r"no such folder|no text in it"):
        read_users(tmp_path / path)


def test_a_folder_becomes_examples_from_earlier_texts(tmp_path):
    for day in range(1, 6):
        write(tmp_path, f"me/2024-05-0{day}-day-{day}.md", prose(f"d{day}"))

    splits = examples_from_documents(read_users(tmp_path))

    assert [e.date for e in splits["train"]] == ["2024-05-02", "2024-05-03"]
    [example] = splits["test"]
    assert example.user_id == "me"
    assert [d.title for d in example.history] == ["day 1", "day 2", "day 3", "day 4"]
    assert example.query.startswith('Write the next part of "day 5" (2024-05-05), about ')


def test_texts_of_one_day_give_nothing_to_learn(tmp_path):
    write(tmp_path, "2024-05-01-a.md", prose("a"))
    write(tmp_path, "2024-05-01-b.md", prose("b"))

    with pytest.raises(FlyThinkerError, match="texts of two different dates"):
        examples_from_documents(read_users(tmp_path))
