"""A trusted front end names the person in a header, whatever the body says."""

from dataclasses import replace

import httpx
import pytest
from serving_app import SETTINGS, make_engine, serve

from command import fail
from flythinker.data.example import Document
from flythinker.serving.storage.store import Store

HEADER = "X-OpenWebUI-User-Id"
QUERY = "Write about the navy."
BODIES = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": QUERY}], "max_tokens": 2},
    "/v1/completions": {"prompt": QUERY, "max_tokens": 2},
    "/v1/responses": {"input": QUERY, "max_output_tokens": 2},
}


@pytest.fixture(scope="module")
def ask(tiny, tmp_path_factory):
    """`ask(path, headers, **fields)` gives the answer; "Zoë" has writings, as "acme" has it."""
    store = Store.open(f"sqlite:///{tmp_path_factory.mktemp('store')}/store.db")
    _, key = store.create_key("acme", "front end")
    store.add("acme", "Zoë", [Document("We went to Zanzibar.")], 10)
    settings = replace(SETTINGS, require_keys=True, user_header=HEADER)
    with serve(make_engine(tiny), store, settings) as url:

        def post(path: str, headers: list[tuple[str, bytes]] = (), **fields) -> httpx.Response:
            body = BODIES[path] | {"model": "tiny"} | fields
            sent = [("Authorization", f"Bearer {key}".encode()), *headers]
            return httpx.post(f"{url}{path}", json=body, headers=sent, timeout=60)

        yield post
    store.close()


def read(answer: httpx.Response) -> int:
    """Tokens of the prompt."""
    usage = answer.json()["usage"]
    return usage.get("prompt_tokens") or usage["input_tokens"]


@pytest.mark.parametrize("path", BODIES)
def test_it_names_the_person_whose_writings_are_read(ask, path):
    zoe = [(HEADER, "Zoë".encode())]
    known, unknown = read(ask(path, user="Zoë")), read(ask(path))
    assert known > unknown
    assert read(ask(path, zoe)) == read(ask(path, zoe, user="bob")) == known
    assert read(ask(path, [(HEADER, b"bob")], user="Zoë")) == unknown
    assert read(ask(path, [(HEADER, b"")], user="Zoë")) == known
    assert read(ask(path, zoe, personalize=False)) == unknown


@pytest.mark.parametrize("headers", [[(HEADER, b"a/b")], [(HEADER, b"a"), (HEADER, b"b")]], ids=str)
def test_a_header_that_names_nobody_is_refused(ask, headers):
    answer = ask("/v1/responses", headers)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, HEADER)


def test_it_needs_keys(tmp_path):
    database = f"sqlite:///{tmp_path}/store.db"
    options = ["--model", tmp_path, "--database", database, "--user-header", HEADER]
    assert "flythinker keys create" in fail("serve", *options, code=2)
