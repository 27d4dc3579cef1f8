"""Too much is refused by the right status, says why and when to come again."""

import threading
from dataclasses import replace

import httpx
import pytest
from serving_app import SETTINGS, client, make_engine, serve

from flythinker.serving.errors import RateLimited
from flythinker.serving.rate import Rate
from flythinker.serving.storage.store import Store

MB = 10**6


@pytest.fixture
def running(personal, tmp_path):
    """`running(setting=value)` serves with other limits."""
    store = Store.open(f"sqlite:///{tmp_path}/store.db")
    yield lambda **changes: serve(make_engine(personal), store, replace(SETTINGS, **changes))
    store.close()


def error(answer: httpx.Response) -> dict[str, str]:
    return answer.json()["error"]


def test_a_large_body_is_refused_before_it_is_read(running):
    def parts():
        for _ in range(10):
            yield b" " * MB

    with running() as url:
        path = f"{url}/v1/users/ann/documents"
        for content in (b" " * 10 * MB, parts()):  # with its length declared, and without
            answer = httpx.post(path, content=content, headers={"Content-Type": "application/json"})
            assert answer.status_code == 413
            assert error(answer)["code"] == "body_too_large"


def test_long_and_many_documents(running):
    with running(max_document_chars=10, max_documents_per_user=2) as url:
        path = f"{url}/v1/users/ann/documents"
        long = httpx.post(path, json={"documents": [{"text": "a" * 11}]})
        assert (long.status_code, error(long)["code"]) == (413, "document_too_large")
        many = httpx.post(path, json={"documents": [{"text": t} for t in "abc"]})
        assert (many.status_code, error(many)["code"]) == (409, "too_many_documents")
        assert httpx.post(path, json={"documents": [{"text": t} for t in "ab"]}).status_code == 200


def test_requests_a_minute(running):
    with running(requests_per_minute=3) as url:
        answers = [httpx.get(f"{url}/v1/models") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 20
        assert httpx.get(f"{url}/health").status_code == 200


def test_a_bucket_fills_again_and_is_a_tenants_own(monkeypatch):
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    rate = Rate(60)
    for _ in range(60):
        rate.take("ann")
    with pytest.raises(RateLimited):
        rate.take("ann")
    rate.take("bob")
    now += 1
    rate.take("ann")
    with pytest.raises(RateLimited):
        rate.take("ann")


def test_requests_at_the_same_time(running):
    with running(max_concurrent_requests=1) as url:
        stream = client(url).completions.create(
            model="tiny", prompt="Go.", max_tokens=400, temperature=2, seed=1, stream=True
        )
        next(iter(stream))
        answer = httpx.get(f"{url}/v1/models")
        assert answer.status_code == 429
        assert error(answer)["code"] == "rate_limit_exceeded"
        assert int(answer.headers["retry-after"]) >= 1
        assert httpx.get(f"{url}/ready").status_code == 200
        stream.close()


def test_a_storm_is_turned_away_and_served_again_after(personal, tmp_path):
    store = Store.open(f"sqlite:///{tmp_path}/store.db")
    statuses: list[int] = []

    def ask() -> int:
        body = {"model": "tiny", "prompt": "Go.", "max_tokens": 60, "temperature": 2}
        statuses.append(httpx.post(f"{url}/v1/completions", json=body, timeout=60).status_code)

    with serve(make_engine(personal, slots=2, max_queue=2), store) as url:
        clients = [threading.Thread(target=ask) for _ in range(40)]
        for one in clients:
            one.start()
        for one in clients:
            one.join()
        assert set(statuses) == {200, 429}
        ask()
        assert statuses[-1] == 200
    store.close()
