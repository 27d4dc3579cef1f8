"""What the page does goes through the store and the limits of the API."""

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest
from serving_app import SETTINGS, make_engine

from flythinker.data.example import Document
from flythinker.errors import FlyThinkerError
from flythinker.serving.api.errors import ApiError
from flythinker.serving.app import create_app
from flythinker.serving.page.desk import Asked, Desk

ASKED = Asked("Ada", "Write about the navy.", "without thoughts", 0.5, 0.0, 0)


@pytest.fixture
def desk(engine, sqlite) -> Desk:
    settings = replace(SETTINGS, max_document_chars=100, max_documents_per_user=3)
    return Desk(create_app(settings, sqlite, engine))


def read(desk, *args) -> list:
    """All that `write` tells."""

    async def run():
        return [now async for now in desk.write(*args)]

    return asyncio.run(run())


def file(name: str, text: str) -> dict:
    return {"name": name, "text": text, "changed": 1714550400000.0}


def test_files_are_read_as_histories_are(desk):
    jsonl = '{"text": "One.", "date": "2020"}\n{"text": "Two."}\n'
    files = [file("2024-05-01-rain.md", "# Rain\n\nIt rained."), file("x.JSONL", jsonl)]
    assert desk.add_files("a", "Ada", files) == 3
    stored = {one.document for one in desk.store.all("a", "Ada")}
    assert stored == {
        Document("It rained.", "Rain", "2024-05-01"),
        Document("One.", "", "2020"),
        Document("Two."),
    }
    desk.add_files("b", "Bob", [file("sea.txt", "Calm.")])
    assert desk.store.history("b", "Bob") == [Document("Calm.", "sea", "2024-05-01")]


def test_a_file_that_holds_no_texts_is_refused(desk):
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
            desk.add_files("a", "Ada", [file(name, text)])
    assert desk.users("a") == []


def test_writings_meet_the_limits_of_the_api(desk):
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
        with pytest.raises(ApiError) as caught:
            desk.add("a", user, documents)
        assert caught.value.status_code == status, (user, documents)
    assert desk.users("a") == []


def test_no_tenant_sees_or_touches_anothers(desk):
    desk.add("a", "Ada", [Document("The navy was small.")])
    theirs = desk.writings("a", "Ada")["documents"]
    assert len(theirs) == 1
    assert desk.users("b") == []
    assert desk.writings("b", "Ada")["documents"] == []
    desk.remove("b", "Ada", theirs[0]["id"])
    desk.forget("b", "Ada")
    assert desk.writings("a", "Ada")["documents"] == theirs
    assert read(desk, "b", "s", ASKED)[-1].used["documents"] == []
    assert read(desk, "a", "s", ASKED)[-1].used["documents"] != []


def test_what_is_asked_for_is_checked_as_by_the_api(desk):
    for change, named in (
        ({"query": " "}, "what to write"),
        ({"query": "a\0b"}, "messages"),
        ({"user": "a/b"}, "user"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"weight": 99.0}, "fusion_weight"),
        ({"query": "navy " * 3000}, "context"),
    ):
        with pytest.raises(ApiError, match=named):
            read(desk, "a", "s", replace(ASKED, **change))


def test_effects_come_with_the_personal_text(desk):
    told = read(desk, "a", "s", ASKED)
    assert told[0].personal["state"] == "waiting"
    assert told[-1].personal["state"] == told[-1].other["state"] == "done"
    assert all(kl is not None and words for _, kl, words in told[-1].personal["tokens"])
    assert all(kl is None for _, kl, _ in told[-1].other["tokens"])
    tokens = [now.personal["tokens"] for now in told]
    for before, after in pairwise(tokens):
        assert after[: len(before)] == before
    none = read(desk, "a", "s", replace(ASKED, weight=0.0))[-1]
    columns = [column["tokens"] for column in (none.personal, none.other)]
    personal, other = ("".join(text for text, _, _ in tokens) for tokens in columns)
    assert personal == other


def test_an_engine_of_one_slot_writes_without_effects(personal, sqlite):
    desk = Desk(create_app(SETTINGS, sqlite, make_engine(personal, slots=1)))
    last = read(desk, "a", "s", ASKED)[-1]
    assert last.personal["state"] == last.other["state"] == "done"
    assert all(kl is None for _, kl, _ in last.personal["tokens"])
