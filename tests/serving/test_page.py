"""The page in a real browser without a network, over a real server with a tiny model."""

import json
import time

import pytest
from browsing import ask, forget_states, open_page, text_of, wait_for
from playwright.sync_api import expect
from serving_app import make_engine, serve

from flythinker.data.example import Document, Example
from flythinker.data.prompt import build_prompt
from flythinker.generation.sampling import Sampling
from reference import respond

QUERY = "Write about the navy."
PAST = [Document("The navy was small.", "Navy", "1861")]


@pytest.fixture
def url(engine, sqlite):
    with serve(engine, sqlite) as url:
        yield url


def alone(personal, history=(), **options) -> str:
    example = Example("u", QUERY, "", tuple(history))
    prompt = build_prompt(example, personal.tokenizer, personal.prompt)
    sampling = Sampling(personal.prompt.response_tokens, temperature=0)
    return respond(personal, [prompt], sampling, **options)[0]


def test_two_texts_stream_and_each_token_shows_its_thought(url, browser, personal, sqlite):
    sqlite.add("default", "Ada", PAST, 10)
    with open_page(browser, url) as page:
        expect(page.locator("#fly-user input")).to_have_value("Ada")
        ask(page, QUERY)
        expect(page.locator("#fly-personal h2")).to_have_text("As Ada")
        expect(page.locator("#fly-other h2")).to_have_text("Without thoughts")
        assert text_of(page, "personal") == alone(personal, PAST)
        assert text_of(page, "other") == alone(personal, PAST, fusion_weight=0)
        assert page.locator("#fly-other .fly-token").count() == 0
        tokens = page.locator("#fly-personal .fly-token")
        shade = "t => t.style.getPropertyValue('--shade')"
        shades = [token.evaluate(shade) for token in tokens.all()[:20]]
        assert len(set(shades)) > 5
        tip = page.locator("#fly-personal .fly-tip")
        expect(tip).to_be_hidden()
        tokens.nth(3).hover()
        expect(tip).to_be_visible()
        assert "nats" in tip.inner_text()
        assert len(page.locator("#fly-personal .fly-tip-words").inner_text().split(" · ")) > 1
        used = page.locator("#fly-past-used")
        expect(used.locator("summary")).to_have_text("Navy · 1861")
        used.locator("summary").click()
        expect(used.locator("blockquote")).to_have_text(PAST[0].text)


@pytest.mark.slow
def test_the_same_model_without_history(url, browser, personal, sqlite):
    sqlite.add("default", "Ada", PAST, 10)
    with open_page(browser, url) as page:
        expect(page.locator("#fly-user input")).to_have_value("Ada")
        page.get_by_label("without history").check()
        ask(page, QUERY)
        expect(page.locator("#fly-other h2")).to_have_text("Without history")
        assert text_of(page, "other") == alone(personal)
        assert page.locator("#fly-other .fly-token").count() > 5
        page.fill("#fly-weight input[type=number]", "0.1")
        page.keyboard.press("Tab")
        ask(page, QUERY)
        assert text_of(page, "personal") == alone(personal, PAST, fusion_weight=0.1)


@pytest.mark.slow
def test_writings_are_pasted_uploaded_deleted_and_forgotten(url, browser, sqlite, tmp_path):
    letter = tmp_path / "2024-05-01-rain.md"
    letter.write_text("# Rain\n\nIt rained all day.")
    lines = tmp_path / "more.jsonl"
    evil = "<img src=x onerror=alert(1)>"
    records = [{"text": "One."}, {"text": "Two.", "title": evil}]
    lines.write_text("".join(json.dumps(record) + "\n" for record in records))
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"text": 3}\n')
    with open_page(browser, url) as page:
        page.on("dialog", lambda dialog: dialog.accept())
        page.fill("#fly-user input", "<b>Ada")
        page.keyboard.press("Enter")
        page.get_by_text("Past writings").click()
        page.fill("#fly-title input, #fly-title textarea", "Sea")
        page.fill("#fly-paste textarea", "The sea was calm.")
        page.click("#fly-add")
        names = page.locator("#fly-writings .fly-name")
        expect(names).to_have_text(["Sea"])
        page.set_input_files("input[type=file]", [letter, lines])
        expect(names).to_have_text(["Sea", "Rain", "Untitled", evil])
        assert page.locator("#fly-writings img, #fly-writings b").count() == 0
        stored = {one.document.title: one.document for one in sqlite.all("default", "<b>Ada")}
        assert stored["Rain"] == Document("It rained all day.", "Rain", "2024-05-01")
        page.set_input_files("input[type=file]", [broken])
        expect(page.get_by_text("broken.jsonl:1")).to_be_visible()
        page.get_by_label("Delete Sea").click()
        expect(names).to_have_text(["Rain", "Untitled", evil])
        page.locator(".fly-forget").click()
        expect(names).to_have_count(0)
    assert not sqlite.knows("default", "<b>Ada")


@pytest.mark.slow
def test_everything_by_keyboard(url, browser):
    with open_page(browser, url) as page:
        keys = page.keyboard

        def tab_to(what: str) -> None:
            for _ in range(30):
                if page.evaluate("what => document.activeElement.closest(what) !== null", what):
                    return
                keys.press("Tab")
            raise AssertionError(f"{what} cannot be reached")

        page.locator("#fly-query textarea").wait_for()
        tab_to("#fly-user")
        keys.type("Ada")
        tab_to("#fly-query")
        keys.type(QUERY)
        keys.press("Shift+Enter")
        expect(page.locator("#fly-personal h2")).to_have_text("As Ada")
        wait_for(page, "done")
        tab_to(".fly-token")
        tip = page.locator("#fly-personal .fly-tip")
        expect(tip).to_be_visible()
        place = "[...document.querySelectorAll('.fly-token')].indexOf(document.activeElement)"
        assert page.evaluate(place) == 0
        keys.press("ArrowRight")
        keys.press("ArrowRight")
        assert page.evaluate(place) == 2
        expect(tip).to_be_visible()
        keys.press("Home")
        assert page.evaluate(place) == 0
        keys.press("Escape")
        expect(tip).to_be_hidden()


@pytest.mark.slow
def test_stop_regenerate_and_copy(url, browser, engine):
    with open_page(browser, url, permissions=["clipboard-read", "clipboard-write"]) as page:
        ask(page, QUERY, temperature="1.2")
        first = text_of(page, "personal")
        page.locator("#fly-personal .fly-copy").click()
        assert page.evaluate("navigator.clipboard.readText()") == first
        ask(page, QUERY, temperature="1.2")
        assert text_of(page, "personal") == first
        forget_states(page)
        page.click("#fly-again")
        wait_for(page, "done")
        assert text_of(page, "personal") != first
        slow(engine)
        page.click("#fly-write")
        page.locator("#fly-personal .fly-token").first.wait_for()
        page.click("#fly-stop")
        wait_for(page, "stopped")
        assert until(lambda: engine.stats().working == 0)


def test_a_closed_tab_ends_the_writing(url, browser, engine):
    slow(engine)
    with open_page(browser, url) as page:
        page.fill("#fly-query textarea", QUERY)
        page.click("#fly-write")
        page.locator("#fly-personal .fly-token").first.wait_for()
        assert until(lambda: engine.stats().working == 2)
    assert until(lambda: engine.stats().working == 0)


@pytest.mark.slow
def test_what_goes_wrong_is_said(url, browser):
    with open_page(browser, url) as page:
        page.locator("#fly-write").click()
        expect(page.get_by_text("say what to write about")).to_be_visible()
        page.fill("#fly-query textarea", "navy " * 3000)
        page.click("#fly-write")
        expect(page.get_by_text("context holds 512 tokens")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_on_a_phone_in_both_schemes(url, browser, scheme):
    phone = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "color_scheme": scheme}
    with open_page(browser, url, **phone) as page:
        ask(page, QUERY)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        columns = [
            page.locator(f"#fly-{name} .fly-column").bounding_box()
            for name in ("personal", "other")
        ]
        assert columns[1]["y"] >= columns[0]["y"] + columns[0]["height"]
        assert min(column["width"] for column in columns) > 280
        page.locator("#fly-personal .fly-token").nth(3).tap()
        tip = page.locator("#fly-personal .fly-tip")
        expect(tip).to_be_visible()
        box = tip.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360
        page.evaluate(
            "document.querySelector('#fly-personal .fly-token').style.setProperty('--shade', 1)"
        )
        for what in (
            ".fly-token",
            ".fly-note",
            ".fly-tip",
            "#fly-write",
            ".fly-legend",
            ".fly-head p",
        ):
            assert contrast(page, what) >= 4.5, what


CONTRAST = """what => {
  const element = document.querySelector(what);
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const paint = color => { canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); };
  const luminance = () => [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3)
    .map(value => value / 255)
    .map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, i) => sum + value * [0.2126, 0.7152, 0.0722][i], 0);
  const layers = [];
  for (let e = element; e; e = e.parentElement) layers.unshift(getComputedStyle(e).backgroundColor);
  ['white', ...layers].forEach(paint);
  const behind = luminance();
  paint(getComputedStyle(element).color);
  const [dark, light] = [behind, luminance()].sort((x, y) => x - y);
  return (light + 0.05) / (dark + 0.05);
}"""


def contrast(page, what: str) -> float:
    """Of an element's text to what is behind it, as WCAG counts it."""
    return page.evaluate(CONTRAST, what)


def slow(engine) -> None:
    """Steps that take long enough to do something meanwhile."""
    step = engine._writer.step

    def slowly():
        time.sleep(0.05)
        return step()

    engine._writer.step = slowly


def until(true, seconds: float = 10) -> bool:
    """Whether something comes true in time."""
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.05)
    return true()


@pytest.mark.slow
def test_a_model_without_thoughts_has_a_plain_page(personal, sqlite, browser):
    personal.model.config.fusion_weight = 0.0
    with serve(make_engine(personal), sqlite) as url, open_page(browser, url) as page:
        expect(page.get_by_label("without history")).to_be_checked()
        assert page.get_by_label("without thoughts").count() == 0
        expect(page.locator("#fly-weight")).to_be_hidden()
        ask(page, QUERY)
        assert text_of(page, "personal") == alone(personal)
        assert page.locator(".fly-token, .fly-legend").count() == 0
