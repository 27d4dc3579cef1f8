from pathlib import Path

from typer.testing import CliRunner

from flythinker.cli.import_texts import app
from flythinker.data.example import Document, read_documents


def invoke(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_texts_of_several_sources_in_one_file(tmp_path: Path) -> None:
    vault = tmp_path / "vault"
    vault.mkdir()
    (vault / "2024-05-02 sun.md").write_text("The sun shone over the river and the hills.")
    (vault / "gone.md").symlink_to(vault / "nowhere")
    note = tmp_path / "2024-05-01 rain.txt"
    note.write_text("It rained.")
    out = tmp_path / "me.jsonl"

    done = invoke(vault, note, note, "--user", "ann", "--out", out)

    assert done.exit_code == 0, done.stderr
    assert "ann: 2 texts in" in done.stdout
    assert "1 that were there twice left out" in " ".join(done.stdout.split())
    assert read_documents(out) == [
        Document("It rained.", "rain", "2024-05-01"),
        Document("The sun shone over the river and the hills.", "sun", "2024-05-02"),
    ]
    assert "gone.md: a link to nothing" in done.stderr
    assert "en 1" in done.stderr
    assert invoke(vault, "--out", out, "--strict").exit_code == 1


def test_wrong_use(tmp_path: Path) -> None:
    assert invoke(tmp_path, "--out", tmp_path / "me.txt").exit_code == 2
    assert "no text in it" in str(invoke(tmp_path, "--out", tmp_path / "me.jsonl").exception)
    assert "Example: flythinker import" in invoke("--help").stdout
