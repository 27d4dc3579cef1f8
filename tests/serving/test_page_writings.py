"""Past texts on the page go through the store and the limits of the API."""

from dataclasses import replace

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


def file(name: str, text: str) -> dict:
    return {"name": name, "text": text, "changed": 1714550400000.0}


def test_files_are_read_as_histories_are(writings, sqlite):
    jsonl = '{"text": "One.", "date": "2020"}\n{"text": "Two."}\n'
    files = [file("2024-05-01-rain.md", "# Rain\n\nIt rained."), file("x.JSONL", jsonl)]
    assert writings.add_files("a", "Ada", files) == 3
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
        ("x.txt", "\ud800", "cannot be read"),
        ("x.txt", 7, "cannot be read"),
    ):
        with pytest.raises(FlyThinkerError, match=said):
            writings.add_files("a", "Ada", [file(name, text)])
    assert writings.users("a") == []


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
