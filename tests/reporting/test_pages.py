"""A page of every part that there is, as HTML and as Markdown."""

from pathlib import Path

import pytest

from flythinker.reporting.page import (
    Cell,
    Figure,
    Finding,
    Section,
    Table,
    Text,
    facts,
    in_colours,
    write_page,
)


@pytest.fixture
def page(tmp_path: Path) -> tuple[str, str]:
    a, b = in_colours(["A", "<B>"])
    rows = [("loss", [Cell("1.5", "[1.2, 1.8]"), Cell("1.4", "−0.1 [−0.2, −0.1] ✓", "better")])]
    section = Section(
        "Numbers",
        "What they are.",
        [Table(["", a, b], rows, "Losses", ["Lower is better.", Cell("One is missing.")])],
        [Figure("<svg></svg>", "How they fall")],
        [a, b],
    )
    texts = [Text(b, "One.\n\nTwo *three*."), Text("What they wrote", "", reference=True)]
    texts_of_user = Section("Texts", texts=[("me", "Write", texts)])
    ran = Section("What ran", facts=[facts("Data", {"users": 3})])
    findings = [Finding(b, "against A:", [Cell("✓ better on loss", verdict="better")])]
    file = tmp_path / "page.html"
    write_page(file, "Two <methods>", "of 3 users", [section, texts_of_user, ran], findings)
    return file.read_text(), file.with_suffix(".md").read_text()


def test_a_page_as_markdown(page):
    assert (
        page[1]
        == r"""# Two &lt;methods&gt;

of 3 users

- **&lt;B&gt;** against A:<br>✓ better on loss

## Numbers

What they are.

**Losses**

|  | A | &lt;B&gt; |
| :--- | ---: | ---: |
| loss | 1.5<br>[1.2, 1.8] | 1.4<br>−0.1 [−0.2, −0.1] ✓ |

Lower is better.

One is missing.

## Texts

### me

**Query**

> Write

**&lt;B&gt;** (3 words)

> One.
>
> Two \*three\*.

**What they wrote** (0 words)

> (empty)

## What ran

| Data |  |
| :--- | :--- |
| users | 3 |

"""
    )


def test_a_page_as_html(page):
    html = page[0]
    assert (
        html.count('<span class="method" style="--colour: var(--series-1)">&lt;B&gt;</span>') == 4
    )
    assert '<td class="better">1.4<small>−0.1 [−0.2,\u00a0−0.1]\u00a0✓</small></td>' in html
    for words in ("Two &lt;methods&gt;", "How they fall", "Lower is better.", "3 words", "(empty)"):
        assert words in html
    assert html.count("<svg>") == 1
