"""Editors and front ends that run in a browser ask from an origin of their own."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import HTTPServer, SimpleHTTPRequestHandler

import httpx
import pytest
from playwright.sync_api import Browser
from serving_app import SETTINGS, serve

from command import fail

ASK = """async ([url, key]) => {
    try {
        const answer = await fetch(url + "/v1/chat/completions", {
            method: "POST",
            headers: {"Content-Type": "application/json", "X-Stainless-Lang": "js",
                      Authorization: "Bearer " + key},
            body: JSON.stringify({model: "tiny", max_tokens: 2, stream: true,
                                  messages: [{role: "user", content: "The sea."}]}),
        });
        return [answer.status, await answer.text()];
    } catch (error) {
        return [0, String(error)];
    }
}"""


class _Empty(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def elsewhere() -> Iterator[str]:
    """The origin of a web page that is not the server's."""
    with HTTPServer(("127.0.0.1", 0), _Empty) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def ask_from(browser: Browser, origin: str, url: str, key: str = "none") -> tuple[int, str]:
    """What a page of this origin gets for a question; status 0: the browser keeps it away."""
    page = browser.new_page()
    try:
        page.goto(origin)
        status, text = page.evaluate(ASK, [url, key])
    finally:
        page.close()
    return status, text


def test_pages_of_an_allowed_origin_alone_may_ask(engine, sqlite, browser):
    with elsewhere() as origin, elsewhere() as another:
        settings = replace(SETTINGS, allow_origins=("app://obsidian.md", origin))
        with serve(engine, sqlite, settings) as url:
            status, text = ask_from(browser, origin, url)
            assert status == 200
            assert text.endswith("data: [DONE]\n\n")
            assert ask_from(browser, another, url)[0] == 0
            asked = {"Origin": "app://obsidian.md", "Access-Control-Request-Method": "DELETE"}
            answer = httpx.options(f"{url}/v1/users/ann/documents", headers=asked)
            assert answer.headers["Access-Control-Allow-Origin"] == "app://obsidian.md"


def test_a_refusal_can_be_read_there(engine, sqlite, browser):
    _, key = sqlite.create_key("acme")
    with elsewhere() as origin:
        settings = replace(SETTINGS, allow_origins=("*",), require_keys=True)
        with serve(engine, sqlite, settings) as url:
            assert ask_from(browser, origin, url, key)[0] == 200
            status, text = ask_from(browser, origin, url, "fly-wrong")
    assert status == 401
    assert "API key" in text


def test_by_itself_no_other_page_may_ask(url, browser):
    with elsewhere() as origin:
        assert ask_from(browser, origin, url)[0] == 0


@pytest.mark.parametrize(
    ("origin", "why"),
    [
        ("*", "every page that you visit"),
        ("obsidian.md", "scheme://host"),
        ("http://127.0.0.1:3000/", "nothing after it"),
        ("https://*.example.org", "nothing after it"),
    ],
)
def test_what_cannot_be_an_origin_is_refused(tmp_path, origin, why):
    database = f"sqlite:///{tmp_path}/store.db"
    options = ["--model", tmp_path, "--database", database, "--allow-origin", origin]
    assert why in fail("serve", *options, code=2)
