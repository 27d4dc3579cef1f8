from pathlib import Path

import pytest

from command import fail, flythinker, succeed


@pytest.fixture
def write(trained: Path) -> list[object]:
    return ["write", "--model", trained, "--query", "The navy.", "--max-new-tokens", 12]


def test_writes_from_a_folder_of_own_texts(write: list[object], tmp_path: Path) -> None:
    (tmp_path / "2024-05-01-sea.md").write_text("# The sea\nThe sea was calm and wide.")
    done = flythinker(*write, "--history", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert "personalized from 1 of 1 texts: The sea" in done.stderr


def test_the_same_seed_writes_the_same_text(write: list[object], data: Path) -> None:
    as_user = [*write, "--user", "someone", "--data", data / "val.jsonl"]
    first = succeed(*as_user, "--seed", 3)
    assert succeed(*as_user, "--seed", 3) == first
    assert succeed(*as_user, "--seed", 4) != first


def test_the_users_of_the_training_data_are_known(write: list[object]) -> None:
    assert "personalized from" in flythinker(*write, "--user", "someone").stderr
    assert "unknown user 'nobody'; closest: someone" in fail(*write, "--user", "nobody")


def test_texts_too_long_for_the_budget_are_not_passed_over_in_silence(
    write: list[object], tmp_path: Path
) -> None:
    (tmp_path / "long.txt").write_text("word " * 500 + ".")
    done = flythinker(*write, "--history", tmp_path)
    assert "none of 1 texts fits into profile_tokens" in done.stderr


def test_an_empty_history_works_and_says_so(write: list[object], tmp_path: Path) -> None:
    empty = tmp_path / "nothing.txt"
    empty.touch()
    done = flythinker(*write, "--history", empty)
    assert done.returncode == 0
    assert "un-personalized" in done.stderr


def test_documents_may_be_jsonl(write: list[object], tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text('{"text": "Ships sail.", "title": "Ships"}\n')
    assert "1 of 1 texts: Ships" in flythinker(*write, "--history", file).stderr
    file.write_text('{"text": "Ships sail."}\n{"txt": "x"}\n')
    assert f"{file}:2: unknown field 'txt'; did you mean 'text'?" in fail(*write, "--history", file)


def test_an_unknown_user_names_the_closest(write: list[object], data: Path) -> None:
    error = fail(*write, "--user", "Some one", "--data", data / "val.jsonl")
    assert "unknown user 'Some one'; closest: someone" in error


@pytest.mark.parametrize("options", [[], ["--history", ".", "--user", "someone"]])
def test_whose_text_must_be_clear(write: list[object], options: list[str]) -> None:
    assert "--user" in fail(*write, *options, code=2)


def test_a_folder_without_weights(trained: Path, tmp_path: Path) -> None:
    query = ["--query", "x", "--history", tmp_path]
    assert "no model weights" in fail("write", "--model", tmp_path, *query)
    hint = fail("write", "--model", trained.parent, *query)
    assert f"did you mean {trained}?" in hint
