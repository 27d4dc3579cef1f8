"""A text that was written is changed on the page and kept as its person's own writing."""

from datetime import date

import pytest
from browsing import ask, open_page, text_of
from playwright.sync_api import expect
from serving_app import SETTINGS, serve

from flythinker.data.document import Document, Edit
from flythinker.serving.app import create_app
from flythinker.serving.errors import Refused
from flythinker.serving.page.edits import keep
from flythinker.serving.page.writings import Writings

QUERY = "The navy"


@pytest.fixture
def url(engine, sqlite):
    with serve(engine, sqlite) as url:
        yield url


def test_an_edit_is_kept_and_counts_at_the_next_request(url, browser, sqlite):
    sqlite.add("default", "Ada", [Document("Bread.")], 10)
    with open_page(browser, url) as page:
        expect(page.locator("#fly-user input")).to_have_value("Ada")
        ask(page, QUERY)
        written = text_of(page, "personal")
        assert page.locator("#fly-other .fly-edit").is_hidden()
        page.locator("#fly-personal .fly-edit").click()
        editor = page.get_by_role("textbox", name="as you would write it")
        expect(editor).to_be_focused()
        expect(editor).to_have_value(written)
        keep_button = page.get_by_role("button", name="Keep as my writing")
        keep_button.click()
        expect(page.get_by_text("nothing in it is changed")).to_be_visible()
        editor.fill("Mine at sea.")
        keep_button.click()
        expect(page.locator("#fly-personal .fly-state")).to_have_text("kept")
        expect(page.locator("#fly-personal .fly-edit")).to_be_focused()
        assert text_of(page, "personal") == "Mine at sea."
        page.get_by_text("Past writings").click()
        expect(page.locator("#fly-writings .fly-name")).to_have_text(["Untitled", QUERY])
        expect(page.locator("#fly-writings .fly-size").nth(1)).to_contain_text("your edit")
        kept = Document("Mine at sea.", QUERY, date.today().isoformat(), Edit(QUERY, written))
        assert sqlite.history("default", "Ada")[-1] == kept

        # changed once more, it takes the place of what was kept, and is an edit of the same text
        page.locator("#fly-personal .fly-edit").click()
        editor.fill("Ours at sea.")
        keep_button.click()
        expect(page.locator("#fly-personal .fly-text")).to_have_text("Ours at sea.")
        newest = sqlite.history("default", "Ada")[1:]
        assert [(one.text, one.edit_of) for one in newest] == [
            ("Ours at sea.", Edit(QUERY, written))
        ]

        ask(page, QUERY)
        used = page.locator("#fly-past-used blockquote").first
        expect(used).to_have_text("Ours at sea.")


def test_a_text_of_nobody_is_kept_as_whom_the_page_writes(url, browser, sqlite):
    with open_page(browser, url) as page:
        ask(page, QUERY)
        page.locator("#fly-personal .fly-edit").click()
        editor = page.get_by_role("textbox", name="as you would write it")
        editor.fill("Mine.")
        page.get_by_role("button", name="Keep as my writing").click()
        expect(page.get_by_text("say first whose texts these are")).to_be_visible()
        expect(editor).to_have_value("Mine.")
        page.fill("#fly-user input", "Ada")
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Keep as my writing").click()
        expect(page.locator("#fly-personal h2")).to_have_text("As Ada")
    assert [one.text for one in sqlite.history("default", "Ada")] == ["Mine."]


def test_what_is_kept_is_checked_and_stays_with_its_tenant(engine, sqlite):
    writings = Writings(create_app(SETTINGS, sqlite, engine).state.server)
    sent = {"query": QUERY, "written": "Was.", "text": "Is.", "user": "Ada", "kept": ""}
    [theirs] = sqlite.add("b", "Ada", [Document("Theirs.")], 10)
    column = keep(writings, "a", "", sent | {"kept": theirs.id})
    assert (column["user"], column["written"]) == ("Ada", "Was.")
    assert [one.text for one in sqlite.history("b", "Ada")] == ["Theirs."]
    for wrong in ({"text": " Was. "}, {"text": " "}, {"user": "a/b"}, {"text": 3}, {"more": ""}):
        with pytest.raises(Refused):
            keep(writings, "a", "", sent | wrong)
    with pytest.raises(Refused):
        keep(writings, "a", "", {})
    assert [one.text for one in sqlite.history("a", "Ada")] == ["Is."]


def test_a_long_query_is_a_short_title(engine, sqlite):
    writings = Writings(create_app(SETTINGS, sqlite, engine).state.server)
    query = "Write\n" + "much " * 300
    sent = {"query": query, "written": "Was.", "text": "Is.", "user": "Ada", "kept": ""}
    keep(writings, "a", "", sent)
    [document] = sqlite.history("a", "Ada")
    assert document.title.startswith("Write much")
    assert len(document.title) == 200
    assert document.edit_of == Edit(query, "Was.")
