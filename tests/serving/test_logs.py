"""Logs show what happened; of texts, users and keys they show nothing unless asked to."""

import asyncio
import io
import json
import logging
from dataclasses import replace

import httpx
import pytest
from serving_app import SETTINGS, make_engine, serve

from flythinker.serving.app import create_app
from flythinker.serving.ops.logs import JsonFormatter
from flythinker.serving.page.comparison import Comparisons
from flythinker.serving.storage.store import Store

SECRET = "zanzibar"


@pytest.fixture
def logged():
    """`logged(texts)` collects all that is logged from then on."""
    root, handlers = logging.getLogger(), []
    logging.getLogger("httpx").setLevel(logging.WARNING)  # the test's own client
    level = root.level

    def start(texts: bool = False) -> io.StringIO:
        stream = io.StringIO()
        handlers.append(logging.StreamHandler(stream))
        handlers[-1].setFormatter(JsonFormatter(texts))
        root.addHandler(handlers[-1])
        root.setLevel(logging.INFO)
        return stream

    yield start
    root.setLevel(level)
    for handler in handlers:
        root.removeHandler(handler)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def use(url: str, key: str) -> None:
    """Everything that has texts, a user and a key in it, right and wrong."""
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}) as api:
        api.post(f"/v1/users/{SECRET}/documents", json={"documents": [{"text": SECRET}]})
        api.post(f"/v1/users/{SECRET}/documents", json={"documents": [{"text": SECRET, SECRET: 1}]})
        api.get(f"/v1/users/{SECRET}/export")
        api.get(f"/{SECRET}")
        for temperature in (1, 9):
            body = {"prompt": SECRET, "user": SECRET, "temperature": temperature, "max_tokens": 3}
            api.post("/v1/completions", json=body | {"model": "tiny"})
        api.post("/v1/completions", json={"model": SECRET, "prompt": SECRET})


def test_no_text_user_or_key_is_logged(personal, tmp_path, logged):
    stream = logged()
    store = Store.open(f"sqlite:///{tmp_path}/store.db")
    _, key = store.create_key("acme")
    with serve(make_engine(personal), store, replace(SETTINGS, require_keys=True)) as url:
        use(url, key)
        httpx.get(f"{url}/v1/users", headers={"Authorization": f"Bearer {key}x"})
    store.close()
    requests = [line for line in lines(stream) if line["message"] == "request"]
    assert [line["status"] for line in requests] == [200, 400, 200, 404, 200, 400, 404, 401]
    assert requests[0]["route"] == "/v1/users/{user_id}/documents"
    assert SECRET not in stream.getvalue()
    assert key not in stream.getvalue()


def test_what_goes_wrong_inside_is_logged_by_kind_and_place(personal, tmp_path, logged):
    stream = logged()
    store = Store.open(f"sqlite:///{tmp_path}/store.db")

    def broken(*arguments: object) -> None:
        raise RuntimeError(f"cannot store {SECRET}")

    store.add = broken
    with serve(make_engine(personal), store) as url:
        body = {"documents": [{"text": SECRET}]}
        answer = httpx.post(f"{url}/v1/users/ann/documents", json=body)
    store.close()
    assert answer.status_code == 500
    assert answer.json()["error"]["type"] == "server_error"
    assert SECRET not in answer.text + stream.getvalue()
    (failure,) = [line for line in lines(stream) if "traceback" in line]
    assert failure["error"] == "RuntimeError"
    assert "in add_documents" in failure["traceback"]


def test_a_database_that_is_gone_is_a_503(personal, tmp_path, logged):
    stream = logged()
    store = Store.open(f"sqlite:///{tmp_path}/store.db")
    with serve(make_engine(personal), store) as url:
        store.close()
        for file in tmp_path.glob("store.db*"):
            file.unlink()
        (tmp_path / "store.db").mkdir()
        body = {"documents": [{"text": SECRET}]}
        answer = httpx.post(f"{url}/v1/users/ann/documents", json=body)
        assert answer.status_code == httpx.get(f"{url}/ready").status_code == 503
        assert httpx.get(f"{url}/health").status_code == 200
    assert SECRET not in stream.getvalue()


def test_texts_are_logged_when_asked_for(personal, tmp_path, logged):
    stream = logged(texts=True)
    store = Store.open(f"sqlite:///{tmp_path}/store.db")
    with serve(make_engine(personal), store, replace(SETTINGS, log_texts=True)) as url:
        body = {"model": "tiny", "prompt": SECRET, "max_tokens": 3}
        written = httpx.post(f"{url}/v1/completions", json=body).json()["choices"][0]["text"]
    store.close()
    (line,) = [line for line in lines(stream) if line["message"] == "texts"]
    assert line["asked"] == body
    assert line["texts"] == [written]


@pytest.mark.parametrize("asked_for", [True, False])
def test_texts_of_the_page_are_logged_like_those_of_the_api(personal, sqlite, logged, asked_for):
    stream = logged(texts=asked_for)
    settings = replace(SETTINGS, log_texts=asked_for)
    comparisons = Comparisons(create_app(settings, sqlite, make_engine(personal)).state.server)

    async def write():
        asked = {"user": "Ada", "temperature": 0.0}
        told = comparisons.write("acme", "session", SECRET, "without thoughts", **asked)
        return [progress async for progress in told][-1]

    last = asyncio.run(write())
    shown = [
        "".join(text for text, *_ in column["tokens"]) for column in (last.personal, last.baseline)
    ]
    if not asked_for:
        assert SECRET not in stream.getvalue()
        return
    (line,) = [line for line in lines(stream) if line["message"] == "texts"]
    assert line["asked"]["messages"] == [{"role": "user", "content": SECRET}]
    assert line["asked"]["user"] == "Ada"
    assert line["texts"] == shown
