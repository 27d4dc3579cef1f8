import json

import numpy as np
import pytest

from flythinker.errors import FlyThinkerError
from flythinker.evaluation.compare import MethodResult, compare, compare_positions

REFERENCES = [f"The {n} harbors of the coast were deepened and {n} lights built" for n in range(40)]


def losses(shift: float, lengths=range(30, 70)) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.gamma(2, 1.5, n) + shift for n in lengths]


def test_a_lower_loss_and_a_higher_score_are_better():
    far = [text.replace("harbors of the coast", "roads in a city") for text in REFERENCES]
    rows = compare(
        [
            MethodResult("SFT", token_losses=losses(0), predictions=far),
            MethodResult("ours", token_losses=losses(-0.1), predictions=REFERENCES),
        ],
        REFERENCES,
        baseline="SFT",
    )
    sft, ours = rows
    assert sft["is_baseline"]
    assert all(cell["difference"] is None for cell in sft["metrics"].values())
    assert ours["metrics"]["loss"]["difference"]["difference"] == pytest.approx(-0.1)
    assert ours["metrics"]["corpus_bleu"]["value"] == pytest.approx(100)
    for metric in ("loss", "rouge1", "rougeL", "bleu", "corpus_bleu", "meteor"):
        assert ours["metrics"][metric]["verdict"] == "better", metric
    assert ours["metrics"]["length"]["verdict"] == "neutral"
    assert json.loads(json.dumps(rows)) == rows


def test_worse_and_unclear_are_said_as_well():
    rng = np.random.default_rng(1)
    noisy = [nats + rng.normal(0, 0.5, len(nats)) for nats in losses(0)]
    results = [
        MethodResult("base", token_losses=losses(0)),
        MethodResult("worse", token_losses=losses(0.05)),
        MethodResult("same", token_losses=noisy),
    ]
    rows = compare(results, REFERENCES, "base")
    assert [row["metrics"]["loss"]["verdict"] for row in rows] == [None, "worse", "unclear"]
    assert all(row["empty_predictions"] is None for row in rows)


def test_too_few_examples_get_no_verdict():
    results = [
        MethodResult("base", token_losses=losses(0, range(5, 10))),
        MethodResult("ours", token_losses=losses(-1, range(5, 10))),
    ]
    cell = compare(results, REFERENCES[:5], "base")[1]["metrics"]["loss"]
    assert cell["difference"]["high"] < 0
    assert cell["verdict"] == "unclear"


def test_one_result_has_values_and_no_differences():
    (row,) = compare([MethodResult("only", token_losses=losses(0))], REFERENCES, "only")
    cell = row["metrics"]["loss"]
    assert cell["low"] < cell["value"] < cell["high"]
    assert cell["difference"] is None


def test_empty_texts_are_counted():
    predictions = ["", " \n", *REFERENCES[2:]]
    (row,) = compare([MethodResult("m", predictions=predictions)], REFERENCES, "m")
    assert row["empty_predictions"] == 2
    assert row["metrics"]["rouge1"]["value"] == pytest.approx(100 * 38 / 40)


def test_positions_compare_segment_by_segment():
    lengths = [150] * 40
    later = losses(0, lengths)
    for nats in later:
        nats[100:] += 0.3
    curves = compare_positions(
        [
            MethodResult("base", token_losses=losses(0, lengths)),
            MethodResult("drifts", token_losses=later),
            MethodResult("no losses"),
        ],
        "base",
    )
    assert set(curves) == {"base", "drifts"}
    first, second = curves["drifts"]
    assert first["difference"]["difference"] == 0
    assert first["verdict"] == "unclear"
    assert second["difference"]["difference"] == pytest.approx(0.3)
    assert second["verdict"] == "worse"
    assert second["n_tokens"] == 40 * 50


def test_models_of_two_tokenizers_compare_by_character():
    characters = [len(text) for text in REFERENCES]
    fine = losses(0)  # many tokens of few nats
    coarse = [np.full(len(nats) // 2, 1.8 * nats.sum() / (len(nats) // 2)) for nats in fine]
    results = [
        MethodResult("fine", token_losses=fine, characters=characters),
        MethodResult("coarse", token_losses=coarse, characters=characters),
    ]
    rows = compare(results, REFERENCES, "fine")
    by_token, by_character = (rows[1]["metrics"][key] for key in ("loss", "character_loss"))
    assert by_token["value"] > 3 * rows[0]["metrics"]["loss"]["value"]
    assert by_token["difference"] is by_token["verdict"] is None
    nats = sum(one.sum() for one in fine)
    assert by_character["value"] == pytest.approx(1.8 * nats / sum(characters))
    assert by_character["difference"]["difference"] == pytest.approx(0.8 * nats / sum(characters))
    assert by_character["verdict"] == "worse"
    segments = compare_positions(results, "fine")["coarse"]
    assert all(segment["difference"] is None for segment in segments)


@pytest.mark.parametrize(
    ("results", "baseline", "message"),
    [
        ([MethodResult("a")], "SFT", "no result named 'SFT'"),
        ([MethodResult("a"), MethodResult("a")], "a", "name of its own"),
        ([MethodResult("a", predictions=["x"])], "a", "a: 1 predictions for 40 examples"),
        ([MethodResult("a", token_losses=losses(0)[:3])], "a", "a: 3 token_losses for 40"),
        (
            [
                MethodResult("a", token_losses=losses(0)),
                MethodResult("b", token_losses=losses(0, range(31, 71))),
            ],
            "a",
            "a and b measured different tokens",
        ),
        (
            [
                MethodResult("a", token_losses=losses(0), characters=[70] * 40),
                MethodResult("b", token_losses=losses(0, range(31, 71)), characters=[71] * 40),
            ],
            "a",
            "by character where no response was cut to its budget",
        ),
    ],
)
def test_results_that_cannot_be_compared_are_refused(results, baseline, message):
    with pytest.raises(FlyThinkerError, match=message):
        compare(results, REFERENCES, baseline)


def test_no_examples_are_refused():
    with pytest.raises(FlyThinkerError, match="no examples"):
        compare([MethodResult("a", predictions=[])], [], "a")
