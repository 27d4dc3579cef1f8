"""Writings over HTTP: what is added comes back, pages, is exported and forgotten."""

import json

import httpx
import pytest
from serving_app import make_engine, serve
from typer.testing import CliRunner

from flythinker.cli.main import app
from flythinker.data.example import read_documents
from flythinker.serving.settings import DEFAULT_TENANT
from flythinker.serving.storage.store import Store

SEA = {"text": "The sea was calm.", "title": "Sea", "date": "2024-05"}
SHIP = {"text": "Ships sail far.", "title": "", "date": ""}


@pytest.fixture
def api(personal, store):
    with serve(make_engine(personal), store) as url, httpx.Client(base_url=f"{url}/v1") as api:
        yield api


def add(api, *documents, user="ann") -> list[str]:
    answer = api.post(f"/users/{user}/documents", json={"documents": documents})
    assert answer.status_code == 200, answer.text
    return [one["id"] for one in answer.json()["data"]]


def test_one_and_many_are_added_read_and_deleted(api):
    one = api.post("/users/ann/documents", json={"documents": [SEA]}).json()["data"][0]
    assert add(api, SEA, SHIP)[0] == one["id"]
    whole = api.get(f"/users/ann/documents/{one['id']}").json()
    assert whole == one | {"text": SEA["text"], "edit_of": None}
    assert whole["characters"] == len(SEA["text"])
    assert api.delete(f"/users/ann/documents/{one['id']}").json()["deleted"]
    assert api.get(f"/users/ann/documents/{one['id']}").status_code == 404
    assert api.delete(f"/users/ann/documents/{one['id']}").status_code == 404


def test_documents_and_users_are_listed_in_pages(api):
    ids = add(api, *({"text": f"Text {number}."} for number in range(5)))
    first = api.get("/users/ann/documents", params={"limit": 3}).json()
    rest = api.get("/users/ann/documents", params={"after": ids[2]}).json()
    assert [one["id"] for one in first["data"] + rest["data"]] == ids
    assert (first["has_more"], rest["has_more"]) == (True, False)
    assert "text" not in first["data"][0]
    add(api, SEA, user="bob")
    assert api.get("/users", params={"limit": 1}).json() == {
        "object": "list",
        "data": [{"id": "ann", "object": "user"}],
        "has_more": True,
    }
    assert [one["id"] for one in api.get("/users", params={"after": "ann"}).json()["data"]] == [
        "bob"
    ]


def test_an_export_can_be_read_as_a_history(api, tmp_path):
    add(api, SEA, SHIP)
    answer = api.get("/users/ann/export")
    file = tmp_path / "ann.jsonl"
    file.write_text(answer.text)
    assert [vars_of(one) for one in read_documents(file)] == [SEA, SHIP]


def test_an_edit_is_kept_with_what_it_was(api, tmp_path, store):
    before = {"query": "Write about the sea.", "written": "The sea is wet."}
    edit = SEA | {"edit_of": before}
    kept, other = add(api, edit, SHIP)
    assert api.get(f"/users/ann/documents/{kept}").json()["edit_of"] == before
    assert api.get(f"/users/ann/documents/{other}").json()["edit_of"] is None
    cards = api.get("/users/ann/documents").json()["data"]
    assert [card["edited"] for card in cards] == [True, False]
    # adding the text alone does not take it from what it is an edit of
    assert add(api, SEA | {"title": "The sea"}) == [kept]
    again = {**edit, "title": "The sea"}

    exported = api.get("/users/ann/export").text
    assert [json.loads(line) for line in exported.splitlines()] == [again, SHIP]
    file = tmp_path / "ann.jsonl"
    file.write_text(exported)
    assert read_documents(file) == [one.document for one in store.all(DEFAULT_TENANT, "ann")]
    assert list(store.past(DEFAULT_TENANT, "ann")) == store.history(DEFAULT_TENANT, "ann")

    assert api.delete(f"/users/ann/documents/{kept}").json()["deleted"]
    assert before["written"] not in api.get("/users/ann/export").text


def test_a_forgotten_user_is_unknown(api):
    add(api, SEA)
    assert api.delete("/users/ann/documents").json()["object"] == "user.deleted"
    for method, path in (("GET", "documents"), ("DELETE", "documents"), ("GET", "export")):
        answer = api.request(method, f"/users/ann/{path}")
        assert answer.status_code == 404
        assert answer.json()["error"]["message"] == "no such user"


def test_a_known_user_is_personalized_by_their_texts_and_nobody_else(api):
    add(api, {"text": "We went to Zanzibar."})
    body = {"model": "tiny", "messages": [{"role": "user", "content": "Go."}], "max_tokens": 5}

    def prompt_tokens(**fields) -> int:
        answer = api.post("/chat/completions", json=body | fields)
        return answer.json()["usage"]["prompt_tokens"]

    plain = prompt_tokens()
    assert prompt_tokens(user="ann") > plain + 10
    assert prompt_tokens(user="ann", personalize=False) == plain
    assert prompt_tokens(user="ann", history_k=0) == plain
    assert prompt_tokens(user="bob") == plain


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([{"text": " \n"}], "documents[0].text"),
        ([{"title": "No text"}], "documents[0].text"),
        ([{"text": "x", "date": "May 2024"}], "documents[0].date"),
        ([{"text": "x", "title": "t" * 501}], "documents[0].title"),
        ([{"text": "x"}, {"text": "x", "author": "ann"}], "documents[1].author"),
        ([{"text": "x", "edit_of": {"query": "q", "written": "x "}}], "documents[0]"),
        ([{"text": "x", "edit_of": {"query": "q"}}], "documents[0].edit_of.written"),
        ([], "documents"),
        (None, "documents"),
    ],
    ids=lambda body: str(body)[:40],
)
def test_what_is_no_document_is_refused_by_its_field(api, body, field):
    answer = api.post("/users/ann/documents", json={"documents": body})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == field
    assert api.get("/users/ann/documents").status_code == 404  # nothing was stored


def test_folders_and_files_are_imported(database, tmp_path):
    for name in ("ann", "bob"):
        (tmp_path / "texts" / name).mkdir(parents=True)
        (tmp_path / "texts" / name / "2024-05-01-sea.md").write_text("# Sea\nThe sea was calm.")
    (tmp_path / "cid.jsonl").write_text(json.dumps(SHIP) + "\n")

    def run(*arguments: object) -> str:
        command = ["users", "import", *map(str, arguments), "--database", database]
        done = CliRunner().invoke(app, [*command, "--tenant", "acme"], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    assert run(tmp_path / "texts") == "ann: 1 texts\nbob: 1 texts\n"
    run(tmp_path / "texts")
    run(tmp_path / "cid.jsonl", "--user", "cid")
    store = Store.open(database)
    assert store.users("acme") == ["ann", "bob", "cid"]
    (sea,) = store.history("acme", "ann")
    assert (sea.title, sea.date, sea.text) == ("Sea", "2024-05-01", SEA["text"])
    store.close()


def test_a_file_without_a_user_is_wrong_use(tmp_path):
    (tmp_path / "x.jsonl").write_text(json.dumps(SHIP))
    done = CliRunner().invoke(app, ["users", "import", str(tmp_path / "x.jsonl")])
    assert done.exit_code == 2
    assert "--user says whose" in done.output


def vars_of(document) -> dict[str, str]:
    return {"text": document.text, "title": document.title, "date": document.date}
