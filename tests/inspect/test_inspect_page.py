import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from thinking import encoded

from flythinker.data.example import Example
from flythinker.inspect.inspect_page import colour_scale, shade, visible, write_inspection
from flythinker.inspect.inspection import inspect_example
from flythinker.inspect.thought_map import collect, draw_map
from flythinker.model_folder import PersonalModel

ATTACK = "<script>alert(1)</script>\n\n\tand é & <img src=http://evil.example>"


class Page(HTMLParser):
    """Tags and attributes; refuses elements that do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def page(examples: list[Example], tmp_path: Path) -> Callable[..., str]:
    """`page(personal, example, effect)`: the page's text, with a map of ten users."""

    def write(personal: PersonalModel, example: Example, effect: str = "local") -> str:
        texts = [replace(e, user_id=f"user <{i % 10}> $x$") for i, e in enumerate(examples[:12])]
        drawn = draw_map(collect(personal, texts), "pca")
        inspection = inspect_example(personal, example, effect)
        write_inspection(tmp_path / "page.html", example, inspection, drawn, {"model": ATTACK})
        return (tmp_path / "page.html").read_text()

    return write


def test_the_page_shows_every_token_and_runs_none(make, page, examples):
    example = replace(examples[0], target=ATTACK, query=ATTACK, user_id=ATTACK)
    personal = make("output", response_tokens=120)
    html = page(personal, example)
    parsed = Page(html)
    for tag, attributes in parsed.tags:
        assert tag not in {"script", "img", "link", "iframe", "object"}
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#")
    assert not re.search(r"url\((?!#)", html)
    assert "@import" not in html
    assert "prefers-color-scheme: dark" in html

    response = encoded(personal, example)
    tokens = [a for _, a in parsed.tags if "aria-describedby" in a]
    tips = [a["id"] for _, a in parsed.tags if a.get("role") == "tooltip"]
    assert [token["aria-describedby"] for token in tokens] == tips
    assert len(set(tips)) == len(tips)
    assert ".token:focus + .tip" in html
    assert len(tokens) == response["length"] - response["prompt_length"]
    assert {token["tabindex"] for token in tokens} == {"0"}
    assert sum("thoughtless" in token["class"] for token in tokens) == 1
    assert len({token["style"] for token in tokens}) > 5  # of different shades
    assert "no thought enters here" in html
    assert "↵\n" in html
    assert "⇥\t" in html


def test_the_page_has_the_numbers_and_the_map(make, page, examples):
    personal = make()
    html = page(personal, examples[0])
    assert "longer than response_tokens" not in html
    tokens = inspect_example(personal, examples[0], "local").tokens
    largest = max(tokens, key=lambda token: token.kl)
    assert html.count(f"<td>{largest.kl:.2g}</td>") >= 1
    assert f"{largest.nats:.3f} nats with, {largest.nats_without:.3f} without" in html
    assert html.count("<svg") == 7
    assert '<i style="--colour: var(--series-1)">●</i> user &lt;0&gt; $x$' in html
    assert '<i style="--colour: var(--series-0)">·</i> 2 others' in html
    for series in (0, 1, 8):
        assert f"stroke: var(--series-{series})" in html or f"fill: var(--series-{series})" in html
    assert "#fe01" not in html


def test_the_page_of_thoughts_that_do_nothing(make, page, examples):
    html = page(make(zero=True), examples[0], "global")
    assert "No thought changes any prediction of this text." in html
    assert "thoughts change nothing" in html
    assert "thoughts of this text are zero" in html
    assert {a["style"] for _, a in Page(html).tags if "aria-describedby" in a} == {"--shade: 0%"}


def test_a_cut_text_says_so_and_a_page_does_without_a_map(make, examples, tmp_path):
    inspection = inspect_example(make(response_tokens=5), examples[5], "global")
    assert inspection.cut
    assert len(inspection.tokens) <= 5
    write_inspection(tmp_path / "page.html", examples[5], inspection, None, {})
    html = (tmp_path / "page.html").read_text()
    assert "only the beginning, the text is longer than response_tokens" in html
    assert "Thoughts by user" not in html


def test_shades_grow_with_the_effect():
    effects = [0.0, 0.25, 1.0, *[0.1] * 100]
    scale = colour_scale(effects)
    assert shade(0, scale) == 0
    assert shade(scale / 4, scale) == pytest.approx(shade(scale, scale) / 2, abs=1)
    assert shade(100, scale) == shade(scale, scale)
    assert colour_scale([0.0, 0.0, 0.5, *[0.0] * 200]) == 0.5  # one effect only is still shown


def test_what_would_not_be_seen_is_shown():
    assert [visible(t) for t in ("", "  ", " a", "\n\n", "a\t")] == [
        "⋯",
        "␣␣",
        " a",
        "↵\n↵\n",
        "a⇥\t",
    ]
