"""No route leads to another tenant. Every route is tried; one that is not listed here fails."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from serving_app import SETTINGS, make_engine, serve

from flythinker.data.example import Document
from flythinker.serving.storage.store import Store

SECRET = "zanzibar"
OWN = Document(f"We went to {SECRET}.", SECRET, "2024")
Call = Callable[[str, str], httpx.Response]
"""Asks a route about a user and a document."""

CHAT = {"messages": [{"role": "user", "content": "Go."}], "temperature": 0, "max_tokens": 8}
OPEN = {("get", "/health"), ("get", "/ready"), ("get", "/metrics")}


def calls(api: httpx.Client) -> dict[tuple[str, str], Call]:
    """Every operation of the API, as asked about somebody."""
    documents = "/v1/users/{user_id}/documents"
    one = documents + "/{document_id}"

    def path(template: str, user: str, id: str) -> str:
        return template.format(user_id=user, document_id=id)

    def plain(method: str, template: str, **options: Any) -> Call:
        return lambda user, id: api.request(method, path(template, user, id), **options)

    return {
        ("get", "/v1/models"): plain("GET", "/v1/models"),
        ("get", "/v1/models/{model}"): plain("GET", "/v1/models/tiny"),
        ("post", "/v1/chat/completions"): lambda user, id: api.post(
            "/v1/chat/completions", json=CHAT | {"model": "tiny", "user": user}
        ),
        ("post", "/v1/completions"): lambda user, id: api.post(
            "/v1/completions",
            json={"model": "tiny", "prompt": "Go.", "user": user, "temperature": 0},
        ),
        ("post", "/v1/responses"): lambda user, id: api.post(
            "/v1/responses",
            json={"model": "tiny", "input": "Go.", "user": user, "temperature": 0},
        ),
        ("get", "/v1/users"): plain("GET", "/v1/users"),
        ("get", documents): plain("GET", documents),
        ("get", one): plain("GET", one),
        ("delete", one): plain("DELETE", one),
        ("delete", documents): plain("DELETE", documents),
        ("get", "/v1/users/{user_id}/adapter"): plain("GET", "/v1/users/{user_id}/adapter"),
        ("delete", "/v1/users/{user_id}/adapter"): plain("DELETE", "/v1/users/{user_id}/adapter"),
        ("get", "/v1/users/{user_id}/export"): plain("GET", "/v1/users/{user_id}/export"),
        ("post", documents): plain("POST", documents, json={"documents": [{"text": "Mine."}]}),
    }


@pytest.fixture
def store(tmp_path) -> Iterator[Store]:
    opened = Store.open(f"sqlite:///{tmp_path}/store.db")
    yield opened
    opened.close()


@pytest.fixture
def url(personal, store):
    store.create_key("acme")
    with serve(make_engine(personal), store, replace(SETTINGS, require_keys=True)) as url:
        yield url


@pytest.fixture
def other(url, store):
    """The client of another tenant than `acme`."""
    _, secret = store.create_key("other")
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {secret}"}) as api:
        yield api


def test_a_foreign_user_is_as_unknown_as_nobody_on_every_route(url, store, other):
    (stored,) = store.add("acme", "ann", [OWN], 10)
    routes = calls(other)
    schema = httpx.get(f"{url}/openapi.json").json()
    operations = {(method, path) for path, item in schema["paths"].items() for method in item}
    assert operations == set(routes) | OPEN
    for call in routes.values():
        foreign, nobody = call("ann", stored.id), call("nob", stored.id)
        assert SECRET not in foreign.text
        assert said(foreign, "ann") == said(nobody, "nob")
    assert store.history("acme", "ann") == [OWN]
    assert store.history("other", "ann") == [Document("Mine.")]


def test_the_owner_is_personalized(store, url):
    """What the test above would not see if nobody were."""
    store.add("acme", "ann", [OWN], 10)
    _, secret = store.create_key("acme")
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {secret}"}) as api:
        for path in ("/v1/chat/completions", "/v1/completions"):
            call = calls(api)["post", path]
            assert said(call("ann", ""), "ann") != said(call("nob", ""), "nob")


def test_how_fast_a_prompt_is_read_does_not_tell_what_another_tenant_asked(store, url, other):
    """What was read for one tenant is not found by another, with the very same prompt."""

    def hits() -> float:
        page = httpx.get(f"{url}/metrics").text
        return float(page.partition("\nflythinker_prefix_hit_tokens_total ")[2].split()[0])

    _, secret = store.create_key("acme")
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {secret}"}) as acme:
        for api, known in ((acme, False), (other, False), (acme, True)):
            before = hits()
            calls(api)["post", "/v1/chat/completions"]("nob", "")
            assert (hits() > before) == known


def test_no_route_answers_without_a_valid_key(url, store):
    (stored,) = store.add("acme", "ann", [OWN], 10)
    revoked, secret = store.create_key("acme")
    store.revoke_key(revoked.id)
    for header in ({}, {"Authorization": f"Bearer {secret}"}, {"Authorization": "Basic YTpi"}):
        with httpx.Client(base_url=url, headers=header) as api:
            for route, call in calls(api).items():
                answer = call("ann", stored.id)
                assert answer.status_code == 401, route
                assert answer.json()["error"]["code"] == "invalid_api_key"
                assert answer.headers["www-authenticate"] == "Bearer"
    assert store.knows("acme", "ann")


def test_what_watches_the_server_names_nobody(url, store, other):
    store.add("other", "ann", [OWN], 10)
    calls(other)["post", "/v1/chat/completions"]("ann", "")
    for _, path in sorted(OPEN):
        answer = httpx.get(url + path)
        assert answer.status_code == 200
        assert "ann" not in answer.text
        assert "other" not in answer.text


def said(answer: httpx.Response, user: str) -> tuple[int, Any]:
    """Status and body, without what is new each time and without the name that was asked for."""
    new = {"id", "created", "created_at", "completed_at"}
    text = answer.text.replace(f'"{user}"', '"USER"')
    body = json.loads(text, object_hook=lambda part: {k: part[k] for k in part.keys() - new})
    return answer.status_code, body
