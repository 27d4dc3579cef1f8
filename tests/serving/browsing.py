"""A real Chromium, cut off from everything but the server, for the tests of the page."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

SECONDS = 60  # a busy machine is slow, not wrong
expect.set_options(timeout=1000 * SECONDS)


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Debian's Chromium, headless; it knows no name and reaches no network."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("Chromium is not installed")
    options = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=options)
        yield browser
        browser.close()


@contextmanager
def open_page(browser: Browser, url: str, **settings: Any) -> Iterator[Page]:
    """The page in a browser that nobody used before; fails if it asks for anything elsewhere."""
    context = browser.new_context(**settings)
    page = context.new_page()
    page.set_default_timeout(1000 * SECONDS)
    elsewhere, errors = [], []
    page.on(
        "request",
        lambda one: one.url.startswith((url, "data:")) or elsewhere.append(one.url),
    )
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(url)
    try:
        yield page
    finally:
        context.close()
    assert elsewhere == []
    assert errors == []


def ask(page: Page, query: str, temperature: str = "0") -> None:
    """Write about something, and wait for both texts."""
    page.fill("#fly-temperature input[type=number]", temperature)
    page.keyboard.press("Tab")
    page.fill("#fly-query textarea", query)
    forget_states(page)
    page.click("#fly-write")
    wait_for(page, "done")


def forget_states(page: Page) -> None:
    """So that what was done before is not taken for done."""
    page.evaluate("document.querySelectorAll('.fly-state').forEach(one => one.textContent = '')")


def wait_for(page: Page, state: str) -> None:
    """Until both texts are in a state."""
    for column in ("#fly-personal", "#fly-other"):
        page.locator(f"{column} .fly-state", has_text=state).wait_for()


def barriers(page: Page) -> list[tuple[str, str]]:
    """What keeps somebody out who uses a screen reader or sees little: axe's rule, and where.

    Those that it calls serious or critical, but for what is Gradio's own: the head of its messages
    is a button with a button in it.
    """
    found = Axe().run(page).response["violations"]
    grave = [each for each in found if each["impact"] in ("serious", "critical")]
    said = [(each["id"], node["html"]) for each in grave for node in each["nodes"]]
    return [
        (rule, html)
        for rule, html in said
        if not (rule == "nested-interactive" and html.startswith('<div class="toast-header'))
    ]


def text_of(page: Page, column: str) -> str:
    """What a column shows."""
    return page.locator(f"#fly-{column} .fly-text").text_content().strip()
