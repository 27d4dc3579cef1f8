import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from flythinker.cli.data import app
from flythinker.data.example import Document, Example, read_examples, write_examples

EXAMPLE = Example("ada", "Write about rain.", "It rained all day long.", (Document("Sun."),))


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_build_folder_writes_three_files_that_pass_the_check(tmp_path):
    texts = tmp_path / "texts"
    texts.mkdir()
    for day in range(1, 6):
        words = [f"The d{day}w{n} d{day}v{n} d{day}u{n} fell." for n in range(50)]
        (texts / f"2024-05-0{day}-x.md").write_text(" ".join(words))

    result = invoke("build", "folder", "--path", texts, "--out", tmp_path / "out")

    assert result.exit_code == 0
    files = [tmp_path / "out" / f"{name}.jsonl" for name in ("train", "val", "test")]
    assert [len(read_examples(file)) for file in files] == [2, 1, 1]
    assert invoke("check", *files).exit_code == 0


def test_build_folder_says_what_was_read_skipped_and_assumed(tmp_path):
    texts = tmp_path / "texts"
    texts.mkdir()
    for day in ("2024-05-01", "2024-05-02"):
        words = " ".join(f"{day[-1]}word{n}" for n in range(100))
        (texts / f"{day}.md").write_text(f"It begins here and now. It goes on: {words}.")
    (texts / "odd.md").write_text("---\ndate: 01/05/2024\n---\nText.")
    (texts / "gone.md").symlink_to(texts / "nowhere")
    build = ["build", "folder", "--path", texts, "--out", tmp_path / "out"]

    said = invoke(*build).stderr
    for part in (
        "2024-05-01 to 2024-05-02",
        "1 without",
        "gone.md: a link to nothing",
        "odd.md: 'date: 01/05/2024': day or month first? say --day-first or --month-first",
        "assumed: all texts are one person's, 'texts'",
    ):
        assert part in said
    assert "01/05/2024" not in invoke(*build, "--day-first", "--user", "me").stderr
    assert read_examples(tmp_path / "out" / "train.jsonl")[0].user_id == "me"
    assert "a link to nothing" in str(invoke(*build, "--strict").exception)


def test_build_longlamp_reads_local_files(tmp_path):
    record = {"author": "bob", "input": "Write.", "output": "Snow.", "profile": []}
    (tmp_path / "train.jsonl").write_text(json.dumps(record))
    options = ["--config", "topic_writing_user", "--path", tmp_path, "--out", tmp_path / "out"]

    assert invoke("build", "longlamp", *options).exit_code == 0
    assert read_examples(tmp_path / "out" / "train.jsonl") == [
        Example("bob", "Write.", "Snow.", ())
    ]


def test_check_names_file_and_line_of_every_problem(tmp_path):
    path = tmp_path / "a.jsonl"
    leak = replace(EXAMPLE, history=(Document("It rained all day long. I stayed in."),))
    write_examples(path, [EXAMPLE, leak, replace(EXAMPLE, query="")])
    path.write_text(path.read_text() + "{oops\n" + '{"user_id": 1}\n')

    result = invoke("check", path)

    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        f"{path}:2: the target is inside its own history, in history[0]",
        f"{path}:3: the query is empty",
        f"{path}:4: not valid JSON: Expecting property name enclosed in double quotes at column 2",
        f"{path}:5: field 'user_id': expected text, got a number",
        "4 problems",
    ]


def test_stats_as_table_and_as_json(tmp_path):
    path = tmp_path / "a.jsonl"
    write_examples(path, [EXAMPLE, EXAMPLE])

    assert "examples" in invoke("stats", path).stdout
    numbers = json.loads(invoke("stats", path, "--json").stdout)
    assert numbers[str(path)]["examples"] == 2
    assert numbers[str(path)]["target_words_mean"] == 5


def test_a_wrong_choice_is_wrong_use(tmp_path):
    assert invoke("build", "sotu", "--split", "random", "--out", tmp_path).exit_code == 2


@pytest.mark.parametrize(
    "command", [["build", "sotu"], ["build", "longlamp"], ["build", "folder"], ["check"], ["stats"]]
)
def test_help_shows_an_example(command):
    assert "Example: flythinker data" in invoke(*command, "--help").stdout
