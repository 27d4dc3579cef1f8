"""The whole way of a person on the page: upload, learn, write, edit, keep, forget."""

import copy
from dataclasses import replace
from zipfile import ZipFile

import pytest
from browsing import ask, barriers, open_page, text_of
from playwright.sync_api import expect
from serving_app import SETTINGS, serve

from flythinker.adaptation.adapt import AdaptSettings, adapt
from flythinker.adapter import About
from flythinker.data.document import Document
from flythinker.serving.app import create_app
from flythinker.serving.page.learned import Learned
from flythinker.serving.storage.store import Store
from person import written

FAST = AdaptSettings(epochs=3, learning_rate=2e-2, batch_size=2)


def learn(store: Store, user: str, personal, work) -> About:
    """What a server does beside its work, at once."""
    material = store.material("default", user)
    own = replace(personal, model=copy.deepcopy(personal.model))
    outcome = adapt(own, user, list(material.texts.values()), work, FAST)
    assert outcome.kept
    assert store.keep_adapter(material, outcome.adapter)
    return outcome.adapter.about


def test_upload_learn_write_edit_keep_forget(engine, sqlite, personal, browser, tmp_path):
    with ZipFile(tmp_path / "mine.zip", "w") as archive:
        for one in written(20):
            archive.writestr(f"{one.date}.md", f"# {one.title}\n\n{one.text}")
    query = "The harbour"
    with serve(engine, sqlite) as url, open_page(browser, url) as page:
        page.on("dialog", lambda dialog: dialog.accept())
        page.fill("#fly-user input", "Ann")
        page.keyboard.press("Enter")
        page.get_by_text("Past writings").click()
        page.set_input_files("input[type=file]", tmp_path / "mine.zip")
        expect(page.locator("#fly-writings .fly-name")).to_have_count(20)
        learned = page.locator(".fly-learned")
        expect(learned).to_be_hidden()
        ask(page, query)
        before = text_of(page, "personal")

        about = learn(sqlite, "Ann", personal, tmp_path / "work")
        page.reload()
        expect(learned).to_be_visible()
        expect(learned).to_contain_text(f"from {about.texts} passages")
        expect(learned).to_contain_text(f"newest {about.held_out} passages")
        assert barriers(page) == []
        ask(page, query)
        assert text_of(page, "personal") != before
        page.locator("#fly-personal .fly-edit").click()
        page.get_by_role("textbox", name="as you would write it").fill("Grey ice.")
        page.get_by_role("button", name="Keep as my writing").click()
        expect(page.locator("#fly-personal .fly-state")).to_have_text("kept")
        assert sqlite.history("default", "Ann")[-1].text == "Grey ice."
        assert sqlite.adapter("default", "Ann") is not None

        page.get_by_role("button", name="Forget what was learned").click()
        expect(learned).to_be_hidden()
        assert sqlite.adapter("default", "Ann") is None
        assert len(sqlite.history("default", "Ann")) == 21
        page.get_by_text("Past writings").click()
        page.locator(".fly-forget").click()
        expect(page.locator("#fly-writings .fly-name")).to_have_count(0)
    assert not sqlite.knows("default", "Ann")


@pytest.fixture
def known(engine, sqlite) -> Learned:
    sqlite.add("default", "Ann", [Document("Grey ice.")], 10)
    return Learned(create_app(SETTINGS, sqlite, engine).state.server)


ABOUT = About(
    user="Ann", part="reasoner", base="b", scale=2.0, texts=42, words=3100, held_out=9, before=3.0,
    after=2.9, gain=-0.1, low=-0.2, high=-0.05, seconds=1.0, made="2026-01-02T03:04:05+00:00",
)  # fmt: skip


def test_a_try_that_failed_is_told_with_its_reason(known, sqlite):
    assert known.shown("default", "Ann")["lines"] == []
    assert known.shown("default", "")["lines"] == []
    why = "too little to learn from: 8 passages"
    assert sqlite.note_failure(sqlite.material("default", "Ann"), "base", why, ABOUT)
    [line] = known.shown("default", "Ann")["lines"]
    assert line.endswith(f"learned nothing: {why}")
    assert known.shown("other", "Ann")["lines"] == []
    known.forget("other", "Ann")
    assert known.shown("default", "Ann")["lines"] == [line]
    known.forget("default", "Ann")
    assert known.shown("default", "Ann")["lines"] == []


def test_a_gain_is_said_in_words_from_the_least_to_the_most(known, monkeypatch):
    class Record:
        about, last_try, status = ABOUT, None, "learning"

    writing = known._state.writing
    monkeypatch.setattr(writing, "adapter_of", lambda tenant, user: Record, raising=True)
    first, second, last = known.shown("default", "Ann")["lines"]
    assert first.startswith("Learned on 2026-01-02 from 42 passages, 3,100 words")
    # exp(0.1), exp(0.05) and exp(0.2) times as likely
    assert "next in them 10.5 % likelier" in second
    assert second.endswith("between 5.1 % and 22.1 %.")
    assert last == "More is being learned now."
