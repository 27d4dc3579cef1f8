import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console

from flythinker.data.example import Document, Example
from flythinker.errors import FlyThinkerError
from flythinker.evaluation.compare import METRICS, MethodResult, compare
from flythinker.reporting.report import results_table, write_report
from flythinker.reporting.sections import choose_examples

ATTACK = '<script>alert("1")</script> & <img src=http://evil.example/x.png> **b** | [a](http://x)'
ENVIRONMENT = {"hardware": "2 CPU cores", "torch": "2.13.0"}


def examples(n: int = 12, users: int = 4) -> list[Example]:
    return [
        Example(
            user_id=f"user <{i % users}>",
            query=f"Write about harbor {i}. {ATTACK}",
            target=f"Harbor {i} was deepened.\n\nThe lights of coast {i} were built. {ATTACK}",
            history=(Document("An earlier text."),) * (i % 3),
            date=f"19{i:02d}-12-03",
        )
        for i in range(n)
    ]


def result(name: str, shift: float, n: int = 12) -> MethodResult:
    rng = np.random.default_rng(0)
    return MethodResult(
        name=name,
        settings={"learning rate": "5e-5", "fusion weight": shift},
        token_losses=[rng.gamma(2, 1.5, 130 + i) + shift for i in range(n)],
        characters=[600 + i for i in range(n)],
        predictions=[f"Harbor {i} was built {name}. {ATTACK}" for i in range(n - 1)] + [""],
        training=[{"step": s, "loss": 4 - s / 100} for s in range(10, 60, 10)]
        + [{"step": 30, "eval_loss": 3.7}, {"step": 60, "eval_loss": 3.456}]
        + [{"step": 60, "train_runtime": 12.0}],
    )


class Tags(HTMLParser):
    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "br", "path", "use", "rect", "circle"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag in self.open:
            assert self.open.pop() == tag, f"</{tag}> closes another element"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    results = [result("SFT", 0), result("Fly <Thinker>", -0.1)]
    table = write_report(path, f"Title {ATTACK}", examples(), results, "SFT", ENVIRONMENT)
    return table, path.read_text(), path.with_suffix(".md").read_text(), path


def test_html_needs_nothing_from_outside(report):
    _, html, _, path = report
    tags = Tags(html)
    assert not tags.open
    assert {tag for tag, _ in tags.tags} & {"script", "img", "link", "iframe", "object"} == set()
    for _, attributes in tags.tags:
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#")
    assert not re.search(r"url\((?!#)", html)
    assert "@import" not in html
    assert {file.name for file in path.parent.iterdir()} == {"report.html", "report.md"}


def test_texts_and_names_are_shown_as_they_are_not_run(report):
    _, html, markdown, _ = report
    assert html.count("&lt;script&gt;") >= 10
    assert "Fly &lt;Thinker&gt;" in html
    for text in (html, markdown):
        assert "<script" not in text
        assert "<img" not in text
    assert r"\[a\](http" in markdown
    assert not re.search(r"(?<!\\)\]\(", markdown)  # no link or image came through
    assert "| Fly &lt;Thinker&gt; |" in markdown


def test_every_number_is_in_both_files(report):
    table, html, markdown, _ = report
    for row in table["rows"]:
        assert row["metrics"].keys() == METRICS.keys()
        for key, cell in row["metrics"].items():
            shown = f"{cell['value']:.{METRICS[key].decimals}f}"
            assert shown in html
            assert shown in markdown
    assert "−0.100" in html  # the difference of the losses, with a real minus sign
    assert "−0.100 [−0.100, −0.100] ✓" in markdown
    for text in (html, markdown):
        for fact in ("5e-5", "2 CPU cores", "2.13.0", "3.456", "12 held-out texts by 4 users"):
            assert fact in text
        assert "wrote 1 empty text of 12" in text


def test_findings_settings_that_differ_and_texts_are_in_both_files(report):
    table, html, markdown, _ = report
    cells = table["rows"][1]["metrics"]
    better = ", ".join(METRICS[k].label for k, cell in cells.items() if cell["verdict"] == "better")
    assert better.startswith("Held-out loss")
    assert f'<span class="better">✓ better on {better}</span>' in html
    assert html.index("better on") < html.index("<h2>Results")
    assert f"- **Fly &lt;Thinker&gt;** against SFT:<br>✓ better on {better}<br>✗" in markdown
    assert "<th>learning rate</th><td>5e-5</td><td>5e-5</td>" in html
    assert '<td class="differs">0</td><td class="differs">-0.1</td>' in html
    assert "| fusion weight | **0** | **-0.1** |" in markdown
    assert markdown.count("**What they wrote** (18 words)") == 3
    assert html.count('What they wrote<span class="muted count">18 words</span>') == 3
    assert html.count('text reference"') == 3


def test_how_sure_a_difference_is_can_be_pointed_at(report):
    table, html, _, _ = report
    difference = table["rows"][1]["metrics"]["rouge1"]["difference"]
    assert f'<small title="p = {difference["p_value"]:.4f}">' in html


def test_plots_are_inline_and_follow_the_theme(report):
    _, html, _, _ = report
    assert html.count("<svg") == 2
    assert "stroke: var(--series-1)" in html
    assert "prefers-color-scheme: dark" in html
    assert "#fe01" not in html
    assert "100–200</text>" in html
    assert "200–300</text>" not in html  # no response is longer than 141 tokens


def test_the_returned_table_is_plain_data(report):
    table, *_ = report
    assert json.loads(json.dumps(table)) == table
    assert table["training"]["SFT"]["best_eval_loss"] == 3.456
    assert table["training"]["SFT"]["best_eval_step"] == 60
    assert [s["n_examples"] for s in table["loss_by_position"]["SFT"]] == [12, 12]


def test_missing_parts_are_left_out_with_a_note(tmp_path):
    path = tmp_path / "report.html"
    bare = MethodResult("bare", token_losses=result("bare", 0).token_losses)
    write_report(path, "Losses only", examples(), [bare], "bare", {})
    for text in (path.read_text(), path.with_suffix(".md").read_text()):
        assert "No method wrote texts" in text
        assert "No training history" in text
        assert "No held-out loss" not in text
        assert "ROUGE" not in text
        assert "baseline" not in text.lower()
    assert path.read_text().count("<svg") == 1

    write_report(path, "Nothing", examples(), [MethodResult("empty")], "empty", {})
    assert "nothing to compare" in path.read_text()
    assert "<svg" not in path.read_text()


def test_a_refused_comparison_leaves_the_older_report(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("older")
    with pytest.raises(FlyThinkerError, match="12 predictions for 3 examples"):
        write_report(path, "x", examples(3), [result("SFT", 0)], "SFT", {})
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    assert path.read_text() == "older"


def test_samples_are_spread_over_users():
    chosen = choose_examples(examples(30, users=10))
    assert len({examples(30, users=10)[i].user_id for i in chosen}) == 3
    assert chosen == choose_examples(examples(30, users=10))
    assert choose_examples(examples(12, users=1)) == [0, 6, 11]
    assert choose_examples(examples(2, users=2)) == [0, 1]


def test_terminal_table_shows_values_differences_and_signs(report):
    table, *_ = report
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(results_table(table["rows"]))
    text = console.export_text()
    assert "Fly <Thinker>" in text
    assert "−0.100 [−0.100, −0.100] ✓" in text
    assert f"{table['rows'][0]['metrics']['meteor']['value']:.2f}" in text


def test_terminal_table_takes_names_literally():
    (row,) = compare([MethodResult("[bold]x", predictions=["a"])], ["a"], "[bold]x")
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(results_table([row]))
    text = console.export_text()
    assert "[bold]x" in text
    assert "better" not in text
