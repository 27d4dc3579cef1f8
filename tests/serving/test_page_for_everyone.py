"""The page for those who read from right to left, use a keyboard, a phone or a screen reader."""

from dataclasses import replace
from zipfile import ZipFile

import docx
import pytest
from browsing import ask, barriers, open_page, wait_for
from playwright.sync_api import Page, expect
from serving_app import SETTINGS, serve

from flythinker.data.document import Document

ARABIC = "كان البحر هادئًا في ذلك الصباح، ولم يتكلم أحد."
CHINESE = "那天早晨大海很平静，没有人说话。" * 12
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True}


@pytest.fixture
def url(engine, sqlite):
    sqlite.add("default", "Ada", [Document("Sea.", "Sea")], 10)
    with serve(engine, sqlite) as url:
        yield url


@pytest.fixture
def files(tmp_path) -> list:
    """What people have, written by what writes such files, and one that cannot be read."""
    folder = tmp_path / "mine"
    folder.mkdir()
    letter = docx.Document()
    letter.core_properties.title = "Rain"
    letter.add_paragraph("It rained all day long, and nobody went to the sea.")
    letter.save(folder / "letter.docx")
    (folder / "page.html").write_text("<h1>Harbour</h1><p>The ships came home that day.</p>")
    (folder / "2024-05-01-大海.md").write_text(f"# 大海\n\n{CHINESE}")
    with ZipFile(folder / "notes.zip", "w") as archive:
        archive.writestr("notes/2024-05-02-بحر.md", ARABIC)
        archive.writestr("notes/picture.png", b"...")
    (folder / f"{'long' * 30}.pdf").write_text("no pdf")
    return sorted(folder.iterdir())


def upload(page: Page, files: list) -> None:
    page.get_by_text("Past writings").click()
    page.set_input_files("input[type=file]", files)
    page.locator(".fly-read table").wait_for()


def edit(page: Page, text: str) -> None:
    page.locator("#fly-personal .fly-edit").click()
    page.get_by_role("textbox", name="as you would write it").fill(text)


def test_uploaded_files_are_told_and_listed(url, browser, sqlite, files):
    with open_page(browser, url) as page:
        expect(page.locator("#fly-user input")).to_have_value("Ada")
        upload(page, files)
        rows = page.locator(".fly-read tr").all_inner_texts()
        assert [row.split("\t")[:4] for row in rows] == [
            ["read", "texts", "words", "languages"],
            ["docx", "1", "11", "en 1"],
            ["html", "1", "6", "en 1"],
            ["md", "1", "96", "zh 1"],
            ["md in zip", "1", "9", "ar 1"],
        ]
        said = page.locator(".fly-read li").all_inner_texts()
        assert any(line.startswith("skipped: longlong") for line in said)
        assert "left out: .png files" in said
        names = page.locator("#fly-writings .fly-name")
        expect(names).to_have_count(5)
        assert set(names.all_inner_texts()) == {"Sea", "Rain", "Harbour", "大海", "بحر"}
    stored = {one.title: one for one in sqlite.history("default", "Ada")}
    assert stored["大海"] == Document(CHINESE, "大海", "2024-05-01")
    assert stored["بحر"] == Document(ARABIC, "بحر", "2024-05-02")


def test_arabic_runs_from_right_to_left_and_chinese_breaks_at_the_edge(url, browser):
    def style(what: str, name: str) -> str:
        return page.locator(what).first.evaluate(f"e => getComputedStyle(e).{name}")

    with open_page(browser, url) as page:
        ask(page, "البحر")
        text = "#fly-personal .fly-text"
        assert page.locator(text).get_attribute("lang") == "ar"
        edit(page, ARABIC)
        assert style("#fly-personal textarea", "direction") == "rtl"
        page.get_by_role("button", name="Keep as my writing").click()
        expect(page.locator(text)).to_have_text(ARABIC)
        assert style(text, "direction") == "rtl"
        line = page.locator(f"{text} span").evaluate("e => e.getClientRects()[0].toJSON()")
        box = page.locator(text).bounding_box()
        assert abs(line["right"] - (box["x"] + box["width"])) < 2
        page.get_by_text("Past writings").click()
        name = page.locator(".fly-name", has_text="البحر")
        assert name.evaluate("e => getComputedStyle(e).direction") == "rtl"

        edit(page, CHINESE)
        page.get_by_role("button", name="Keep as my writing").click()
        expect(page.locator(text)).to_have_text(CHINESE)
        assert style(text, "direction") == "ltr"
        assert page.locator(text).get_attribute("lang") == "zh"
        assert page.locator(text).evaluate("e => e.scrollWidth <= e.clientWidth")
        lines = page.locator(f"{text} span").evaluate("e => e.getClientRects().length")
        assert lines > 3


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_no_state_has_a_barrier(url, browser, files, scheme):
    with open_page(browser, url, color_scheme=scheme) as page:
        page.locator("#fly-write").wait_for()
        assert barriers(page) == []
        page.click("#fly-write")
        expect(page.get_by_text("say what to write about")).to_be_visible()
        expect(page.locator(".toast-body")).to_have_css("opacity", "1")
        assert barriers(page) == []
        upload(page, files)
        assert barriers(page) == []
        page.get_by_label("without history").check()
        ask(page, "Sea")
        page.locator("#fly-past-used summary").first.click()
        page.locator("#fly-personal .fly-token").nth(3).hover()
        expect(page.locator("#fly-personal .fly-tip")).to_be_visible()
        assert barriers(page) == []
        edit(page, ARABIC)
        assert barriers(page) == []
        page.get_by_role("button", name="Keep as my writing").click()
        expect(page.locator("#fly-personal .fly-state")).to_have_text("kept")
        assert barriers(page) == []


def test_axe_sees_a_barrier(url, browser):
    with open_page(browser, url) as page:
        page.locator("#fly-write").wait_for()
        page.evaluate("document.querySelector('#fly-query textarea').closest('label').replaceWith("
                      "document.querySelector('#fly-query textarea'))")  # fmt: skip
        page.evaluate("document.querySelector('#fly-query textarea').placeholder = ''")
        assert [rule for rule, _ in barriers(page)] == ["label"]


def test_where_keys_are_asked_for_there_is_no_barrier(engine, sqlite, browser):
    with (
        serve(engine, sqlite, replace(SETTINGS, require_keys=True)) as url,
        open_page(browser, url, **PHONE) as page,
    ):
        page.get_by_label("API key").wait_for()
        assert barriers(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_nothing_is_wider_than_a_phone(url, browser, files):
    def fits() -> bool:
        return page.evaluate("document.documentElement.scrollWidth") <= 360

    with open_page(browser, url, **PHONE) as page:
        expect(page.locator("#fly-user input")).to_have_value("Ada")
        assert fits()
        upload(page, files)
        assert fits()
        ask(page, "Sea")
        assert fits()
        edit(page, "w" * 300)
        assert fits()
        page.get_by_role("button", name="Keep as my writing").click()
        expect(page.locator("#fly-personal .fly-state")).to_have_text("kept")
        assert fits()


FOCUS = """() => {
  const one = document.activeElement;
  const shown = [one, one.parentElement, one.closest('label, .wrap, .block')].some(e => {
    const style = e && getComputedStyle(e);
    return style && style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0;
  });
  return {what: one.outerHTML.slice(0, 100), shown, body: one === document.body};
}"""


def test_every_function_by_keyboard_with_focus_in_sight(url, browser, sqlite):
    with open_page(browser, url) as page:
        keys = page.keyboard

        def tab_to(what: str) -> None:
            for _ in range(60):
                keys.press("Tab")
                focus = page.evaluate(FOCUS)
                assert focus["shown"] or focus["body"], focus
                if page.evaluate("what => document.activeElement.closest(what) !== null", what):
                    return
            raise AssertionError(f"{what} cannot be reached")

        expect(page.locator("#fly-user input")).to_have_value("Ada")
        page.on("dialog", lambda dialog: dialog.accept())
        tab_to("#fly-user")
        expect(page.get_by_role("option")).to_have_text(["✓ Ada"])
        tab_to("#fly-past button")
        expect(page.get_by_role("option")).to_have_count(0)
        keys.press("Enter")
        tab_to("#fly-title")
        keys.type("Ship")
        tab_to("#fly-paste")
        keys.type("Ships sail.")
        tab_to("#fly-add")
        keys.press("Enter")
        names = page.locator("#fly-writings .fly-name")
        expect(names).to_have_text(["Sea", "Ship"])
        tab_to("input[type=file]")
        tab_to("#fly-query")
        keys.type("Sea")
        tab_to("#fly-comparison")
        tab_to("#fly-weight input[type=range]")
        tab_to("#fly-temperature input[type=number]")
        tab_to("#fly-write")
        keys.press("Enter")
        wait_for(page, "done")
        tab_to("#fly-stop")
        tab_to("#fly-again")
        tab_to("#fly-personal .fly-edit")
        keys.press("Enter")
        keys.press("Control+A")
        keys.type("The sea is mine.")
        tab_to(".fly-keep")
        keys.press("Enter")
        expect(page.locator("#fly-personal .fly-state")).to_have_text("kept")
        tab_to("#fly-personal .fly-copy")
        tab_to("#fly-other .fly-token, #fly-other .fly-copy")
        tab_to("[aria-label='Delete Sea']")
        keys.press("Enter")
        expect(names).to_have_text(["Ship", "Sea"])
        expect(page.get_by_label("Delete Ship")).to_be_focused()
        tab_to(".fly-forget")
        keys.press("Enter")
        expect(names).to_have_count(0)
        expect(page.locator("#fly-writings .fly-about")).to_be_focused()
    assert not sqlite.knows("default", "Ada")
