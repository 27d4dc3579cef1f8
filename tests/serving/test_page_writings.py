"""Past texts on the page go through the store and the limits of the API."""

from base64 import b64encode
from dataclasses import replace
from zipfile import ZIP_DEFLATED, ZipFile

import docx
import pytest
from serving_app import SETTINGS

from flythinker.data.example import Document
from flythinker.errors import FlyThinkerError
from flythinker.serving.api.errors import api_error
from flythinker.serving.app import create_app
from flythinker.serving.errors import Refused
from flythinker.serving.page.writings import Writings


@pytest.fixture
def writings(engine, sqlite) -> Writings:
    settings = replace(SETTINGS, max_document_chars=100, max_documents_per_user=3)
    return Writings(create_app(settings, sqlite, engine).state.server)


def file(name: str, content: str | bytes) -> dict:
    """A file as the page sends it."""
    data = content.encode() if isinstance(content, str) else content
    return {"name": name, "data": b64encode(data).decode(), "changed": 1714550400000.0}


def test_files_are_read_as_histories_are(writings, sqlite):
    jsonl = '{"text": "One.", "date": "2020"}\n{"text": "Two."}\n'
    files = [file("2024-05-01-rain.md", "# Rain\n\nIt rained."), file("x.JSONL", jsonl)]
    summary = writings.add_files("a", "Ada", files)
    assert [row[:3] for row in summary.rows] == [("jsonl", "2", "2"), ("md", "1", "2")]
    stored = {one.document for one in sqlite.all("a", "Ada")}
    assert stored == {
        Document("It rained.", "Rain", "2024-05-01"),
        Document("One.", "", "2020"),
        Document("Two."),
    }
    writings.add_files("b", "Bob", [file("sea.txt", "Calm.")])
    assert sqlite.history("b", "Bob") == [Document("Calm.", "sea", "2024-05-01")]


def test_a_file_that_holds_no_texts_is_refused(writings):
    for name, text, said in (
        ("x.exe", "text", "^x.exe: give a folder"),
        ("x.jsonl", '{"text": 1}', "^x.jsonl:1: "),
        ("../../x.jsonl", "no json", "^x.jsonl:1: "),
        ("/etc/passwd", "text", "^passwd: give"),
        ("", "text", "cannot be read"),
        ("a\0b.txt", "text", "cannot be read"),
        ("long" * 100 + ".txt", "text", "cannot be read"),
    ):
        with pytest.raises(FlyThinkerError, match=said):
            writings.add_files("a", "Ada", [file(name, text)])
    for data in ("no base64", "\ud800", 7):
        with pytest.raises(FlyThinkerError, match="cannot be read"):
            writings.add_files("a", "Ada", [file("x.txt", "") | {"data": data}])
    assert writings.users("a") == []


def test_office_files_and_exports_are_read_as_import_reads_them(writings, sqlite, tmp_path):
    document = docx.Document()
    document.core_properties.title = "Rain"
    document.add_paragraph("It rained all day long.")
    document.save(tmp_path / "rain.docx")
    with ZipFile(tmp_path / "notes.zip", "w") as archive:
        archive.writestr("2024-05-02-sea.md", "The sea was calm.")
        archive.writestr("picture.png", b"...")
    names = ("rain.docx", "notes.zip")
    files = [file(name, (tmp_path / name).read_bytes()) for name in names]
    files += [file("broken.pdf", b"no pdf"), file("x.exe", b"?")]

    summary = writings.add_files("a", "Ada", files)

    assert {one.document.text for one in sqlite.all("a", "Ada")} == {
        "It rained all day long.",
        "The sea was calm.",
    }
    assert [row[:2] for row in summary.rows] == [("docx", "1"), ("md in zip", "1")]
    said = "\n".join(summary.lines)
    for part in ("skipped: broken.pdf: ", "skipped: x.exe: give a folder", "left out: .png files"):
        assert part in said
    assert str(tmp_path) not in said
    assert "/tmp" not in said


def test_an_archive_that_unpacks_to_too_much_is_named(writings, tmp_path, monkeypatch):
    monkeypatch.setattr("flythinker.serving.page.writings.MAX_UNPACKED", 2**20)
    with ZipFile(tmp_path / "bomb.zip", "w", ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", "a" * 2**21)
    with pytest.raises(FlyThinkerError, match=r"bomb\.zip: it unpacks to more than 1 MiB"):
        writings.add_files("a", "Ada", [file("bomb.zip", (tmp_path / "bomb.zip").read_bytes())])


def test_writings_meet_the_limits_of_the_api(writings):
    for user, documents, status in (
        ("", [Document("Text.")], 400),
        ("a/b", [Document("Text.")], 400),
        ("u" * 201, [Document("Text.")], 400),
        ("Ada", [Document(" ")], 400),
        ("Ada", [Document("a\0b")], 400),
        ("Ada", [Document("Text.", "t" * 501)], 400),
        ("Ada", [Document("x" * 101)], 413),
        ("Ada", [Document(f"Text {n}.") for n in range(4)], 409),
    ):
        with pytest.raises(Refused) as caught:
            writings.add("a", user, documents)
        assert api_error(caught.value).status_code == status, (user, documents)
    assert writings.users("a") == []


def test_no_tenant_sees_or_touches_anothers(writings):
    writings.add("a", "Ada", [Document("The navy was small.")])
    theirs = writings.shown("a", "Ada")["documents"]
    assert len(theirs) == 1
    assert writings.users("b") == []
    assert writings.shown("b", "Ada")["documents"] == []
    writings.remove("b", "Ada", theirs[0]["id"])
    writings.forget("b", "Ada")
    assert writings.shown("a", "Ada")["documents"] == theirs
