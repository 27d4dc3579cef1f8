import numpy as np
import pytest

from flythinker.data.example import Example
from flythinker.evaluation.compare import METRICS, MethodResult, measure_texts
from flythinker.evaluation.segments import (
    SEGMENT_METRICS,
    compare_segments,
    metrics_by_segment,
    segment_texts,
)
from flythinker.reporting.report import write_report
from flythinker.scoring.metrics import text_metrics

LONG = " ".join(
    f"The harbor of town {i} was deepened, and its lights were built." for i in range(9)
)
SHORT = "The harbor was deepened. It was done — at last — in 1899 … naïvely."


@pytest.mark.parametrize("text", [LONG, SHORT, "", "word", "  spaces   kept \n\n here  "])
def test_the_pieces_joined_are_the_text(tokenizer, text):
    pieces = segment_texts(text, tokenizer, 7)
    assert "".join(pieces) == text
    count = len(tokenizer(text, add_special_tokens=False)["input_ids"])
    assert len(pieces) == -(-count // 7)


def test_a_segment_is_scored_as_its_pieces_alone(tokenizer):
    predictions, references = [LONG, SHORT], [LONG[::-1], LONG]
    segments = metrics_by_segment(predictions, references, tokenizer, width=20, last=60)
    assert [(s.start, s.end) for s in segments] == [(0, 20), (20, 40), (40, 60)]
    for i, segment in enumerate(segments):
        ours = [(segment_texts(text, tokenizer, 20) + [""] * 3)[i] for text in predictions]
        theirs = [segment_texts(text, tokenizer, 20)[i] for text in references]
        for metric, values in text_metrics(ours, theirs).items():
            if metric in segment.measured:
                statistics, _ = segment.measured[metric]
                np.testing.assert_allclose(statistics[:, 0], values)
        assert segment.measured.keys() == measure_texts(ours, theirs).keys() & set(SEGMENT_METRICS)


def test_a_text_that_ended_scores_0_and_is_counted(tokenizer):
    segments = metrics_by_segment(["The harbor.", LONG], [LONG, LONG], tokenizer, 20, 60)
    assert [segment.n_ended for segment in segments] == [0, 1, 1]
    for segment in segments[1:]:
        statistics, _ = segment.measured["rouge1"]
        assert statistics[:, 0].tolist() == [0, pytest.approx(100)]


def test_every_method_is_measured_where_the_users_own_text_reaches(tokenizer):
    references = [LONG, SHORT]
    results = [
        MethodResult("a", predictions=[LONG, LONG]),
        MethodResult("b", predictions=[SHORT, SHORT]),
        MethodResult("c", token_losses=[np.ones(3)] * 2),  # wrote nothing
    ]
    rows = compare_segments(results, references, "a", tokenizer, width=30, last=300)
    assert rows.keys() == {"a", "b"}
    counts = [[row["n_examples"] for row in rows[name]] for name in rows]
    assert counts[0] == counts[1]
    assert counts[0][0] == 2
    assert counts[0][-1] == 1  # the long one alone
    cell = rows["b"][-1]["metrics"]["rouge1"]
    assert cell["difference"]["difference"] == pytest.approx(-100)
    assert rows["a"][-1]["metrics"]["rouge1"]["difference"] is None


def test_the_report_shows_every_segment_and_who_ended_before(tokenizer, tmp_path):
    texts = [" ".join([f"Report {i} of the year."] * i + [LONG] * 3) for i in range(12)]
    examples = [Example("ada", "q", text, ()) for text in texts]
    written = texts[1:] + texts[:1]
    results = [
        MethodResult("whole", predictions=written),
        MethodResult("short", predictions=[SHORT] * 7 + written[7:]),
    ]
    path = tmp_path / "report.html"
    data = write_report(path, "x", examples, results, "whole", {}, tokenizer)
    html, markdown = path.read_text(), path.with_suffix(".md").read_text()
    rows = data["segments"]["short"]
    assert [row["n_ended"] for row in rows] == [0, 7, 7]
    metrics = rows[0]["metrics"].keys()
    # no training and no losses are given, so these plots are all there are
    assert html.count("<svg") == len(metrics) >= 5
    for page in (html, markdown):
        assert "Texts along the response" in page
        assert "scores 0 there" in page
        for row in rows:
            for metric, cell in row["metrics"].items():
                assert METRICS[metric].label in page
                assert f"{cell['value']:.{METRICS[metric].decimals}f}" in page
    assert "| Ended before 100 | 0 | 7 |" in markdown
    assert "<th>Ended before 100</th><td>0</td><td>7</td>" in html


def test_the_report_leaves_the_section_out_where_nothing_was_written(tokenizer, tmp_path):
    path = tmp_path / "report.html"
    result = MethodResult("losses", token_losses=[np.ones(3)])
    write_report(path, "x", [Example("ada", "q", LONG, ())], [result], "losses", {}, tokenizer)
    for page in (path.read_text(), path.with_suffix(".md").read_text()):
        assert "Texts along the response" not in page
