"""The page is no way around API keys, and brings nothing of Gradio that it does not need."""

from dataclasses import replace

import httpx
import pytest
from browsing import ask, open_page
from playwright.sync_api import expect
from serving_app import SETTINGS, serve

from flythinker.data.example import Document

PAST = [Document("The navy was small.")]


@pytest.fixture
def keyed(engine, sqlite):
    """A server that asks for keys, and the keys of two tenants, of which each has a user."""
    keys = {}
    for tenant, user in (("a", "Ada"), ("b", "Bob")):
        keys[tenant] = sqlite.create_key(tenant)
        sqlite.add(tenant, user, PAST, 10)
    with serve(engine, sqlite, replace(SETTINGS, require_keys=True)) as url:
        yield url, keys


def test_a_key_opens_the_page_of_its_tenant_only(keyed, browser, sqlite):
    url, keys = keyed
    with open_page(browser, url) as page:
        page.get_by_label("API key").fill("fly-wrong")
        page.get_by_role("button").click()
        expect(page.get_by_text("no valid key")).to_be_visible()
        page.get_by_label("API key").fill(keys["a"][1])
        page.get_by_role("button").click()
        expect(page.locator("#fly-user input")).to_have_value("Ada")
        page.locator("#fly-user input").click()
        expect(page.get_by_role("option")).to_contain_text(["Ada"])
        page.fill("#fly-user input", "Bob")
        page.keyboard.press("Enter")
        ask(page, "Write about the navy.")
        assert "no past texts" in page.inner_text("#fly-past-used")
        sqlite.revoke_key(keys["a"][0].id)
        page.reload()
        expect(page.get_by_label("API key")).to_be_visible()


def test_logging_out(keyed, browser):
    url, keys = keyed
    with open_page(browser, url) as page:
        page.get_by_label("API key").fill(keys["b"][1])
        page.get_by_role("button").click()
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_label("API key")).to_be_visible()
        page.goto(url)
        expect(page.get_by_label("API key")).to_be_visible()


def test_without_a_key_nothing_of_the_page_is_reached(keyed):
    url, _ = keyed
    event = {"data": [], "fn_index": 0, "session_hash": "s"}
    for cookies in ({}, {"flythinker_key": "fly-wrong"}):
        with httpx.Client(base_url=url, cookies=cookies) as client:
            assert client.get("/").status_code == 401
            for path in ("/config", "/theme.css", "/gradio_api/queue/data?session_hash=s"):
                assert client.get(path).status_code == 401
            assert client.get("/gradio_api/heartbeat/s").status_code == 401
            for path in ("/gradio_api/queue/join", "/gradio_api/cancel"):
                assert client.post(path, json=event).status_code == 401


def test_a_session_of_another_tenant_is_not_reached(keyed):
    url, keys = keyed
    event = {"data": [], "fn_index": 0, "session_hash": "s"}
    clients = [httpx.Client(base_url=url, cookies={"flythinker_key": keys[t][1]}) for t in "ab"]
    assert clients[0].post("/gradio_api/queue/join", json=event).status_code == 200
    assert clients[1].post("/gradio_api/queue/join", json=event).status_code == 404
    assert clients[1].post("/gradio_api/cancel", json=event | {"event_id": "e"}).status_code == 404
    assert clients[1].get("/gradio_api/queue/data?session_hash=s").status_code == 404
    assert clients[1].get("/gradio_api/heartbeat/s").status_code == 404
    with clients[0].stream("GET", "/gradio_api/queue/data?session_hash=s") as answer:
        assert answer.status_code == 200
        said = "".join(line for line in answer.iter_lines() if line)
    assert "Ada" in said
    assert "Bob" not in said
    for client in clients:
        client.close()


def test_what_the_page_does_not_need_of_gradio_is_not_there(engine, sqlite):
    with serve(engine, sqlite) as url, httpx.Client(base_url=url) as client:
        assert client.get("/").headers["content-security-policy"].startswith("default-src 'self'")
        for path in (
            "info", "api/predict", "run/predict", "call/start", "upload", "file=/etc/passwd",
            "proxy=http://127.0.0.1/", "stream/x", "token", "app_id", "runs", "vibe-code",
            "component_server", "process_recording",
        ):  # fmt: skip
            for method in ("GET", "POST"):
                answer = client.request(method, f"/gradio_api/{path}")
                assert answer.status_code == 404, path
                assert answer.json()["error"]["message"] == "Not Found"
        assert client.get("/monitoring").status_code == 404
        assert client.get("/static/..%2f..%2f..%2f__init__.py").status_code in (403, 404)
        elsewhere = {"Sec-Fetch-Site": "cross-site"}
        event = {"data": [], "fn_index": 0, "session_hash": "s"}
        refused = client.post("/gradio_api/queue/join", json=event, headers=elsewhere)
        assert refused.status_code == 403
