import numpy as np
import pytest
import sacrebleu
from nltk.corpus import wordnet
from rouge_score.rouge_scorer import RougeScorer

from flythinker.errors import FlyThinkerError
from flythinker.scoring.metrics import (
    bleu_from_statistics,
    bleu_statistics,
    meteor_stages,
    text_metrics,
)
from flythinker.scoring.tokenizers import tokenizers_of

REFERENCES = [
    "The state of the Union is strong. We asked the Congress for better roads and schools.",
    "Our harbors were deepened; our forests protected. The treasury reports a large surplus.",
    "Peace with all nations has been kept, and commerce grows every year.",
]
PREDICTIONS = [
    "The state of our Union is strong. We ask Congress for better schools and for roads.",
    "The treasury reported a surplus. Our harbors and our forests were protected this year.",
    "War was avoided.",
]
SCORES = ("rouge1", "rouge2", "rougeL", "bleu", "meteor")


def corpus_bleu(predictions: list[str], references: list[str]) -> float:
    return bleu_from_statistics(bleu_statistics(predictions, references).sum(axis=0))


def test_a_copy_scores_100_and_disjoint_words_score_0():
    copy = text_metrics(REFERENCES, REFERENCES)
    disjoint = text_metrics(["zebra quartz vivid"] * 3, REFERENCES)
    for name in SCORES:
        # METEOR always charges a little for one unbroken chunk of matches.
        assert copy[name] == pytest.approx([100] * 3, abs=0.2 if name == "meteor" else 1e-9)
        assert disjoint[name] == pytest.approx([0] * 3)


def test_rouge_and_bleu_are_those_of_the_libraries():
    scores = text_metrics(PREDICTIONS, REFERENCES)
    rouge = RougeScorer(["rougeL"], use_stemmer=True)
    for i, (prediction, reference) in enumerate(zip(PREDICTIONS, REFERENCES, strict=True)):
        bleu = sacrebleu.sentence_bleu(prediction, [reference]).score
        assert scores["bleu"][i] == pytest.approx(bleu)
        rouge_l = rouge.score(reference, prediction)["rougeL"].fmeasure
        assert scores["rougeL"][i] == pytest.approx(100 * rouge_l)


def test_corpus_bleu_is_sacrebleus_and_adds_up_from_statistics():
    theirs = sacrebleu.corpus_bleu(PREDICTIONS, [REFERENCES]).score
    assert theirs > 1
    assert corpus_bleu(PREDICTIONS, REFERENCES) == pytest.approx(theirs)
    some = [0, 0, 2]  # a resample: one text twice, one left out
    total = bleu_statistics(PREDICTIONS, REFERENCES)[some].sum(axis=0)
    resampled = sacrebleu.corpus_bleu(
        [PREDICTIONS[i] for i in some], [[REFERENCES[i] for i in some]]
    )
    assert bleu_from_statistics(total) == pytest.approx(resampled.score)


def test_meteor_matches_stems_and_punctuation_inside_a_text():
    meteor = text_metrics(
        ["road. schools", "road xyz. schools", "hill. rivers"],
        ["roads . school", "roads . school", "roads . school"],
    )["meteor"]
    assert meteor[0] > 90
    assert meteor[0] > meteor[1] > meteor[2] > 0  # the last shares the full stop alone


def test_meteor_says_whether_synonyms_count():
    try:
        wordnet.ensure_loaded()
        installed = True
    except LookupError:
        installed = False
    assert ("WordNet" in meteor_stages()) == installed
    assert (text_metrics(["automobile"], ["car"])["meteor"][0] > 0) == installed


def test_an_empty_prediction_scores_0():
    scores = text_metrics(["", "  \n"], REFERENCES[:2])
    for name in (*SCORES, "length"):
        np.testing.assert_array_equal(scores[name], 0)
    assert corpus_bleu(["", ""], REFERENCES[:2]) == 0


def test_length_counts_words():
    assert text_metrics(["one two\n\nthree"], ["one"])["length"].tolist() == [3]


@pytest.mark.parametrize(
    ("text", "other", "words"),
    [
        ("傍晚我们沿着河岸散步，水涨得很高。", "猫在沙发上睡觉。", (8, 14)),
        ("Вечером мы гуляли по берегу широкой реки.", "Кошка спит на диване.", (7, 7)),
    ],
)
def test_other_languages_are_divided_into_their_words(text, other, words):
    scores = text_metrics([text, other], [text, text])
    for name in ("rouge1", "rouge2", "rougeL", "bleu"):
        assert scores[name][0] == pytest.approx(100)
        assert scores[name][1] < 35
    assert scores["meteor"][0] > 99
    assert words[0] <= scores["length"][0] <= words[1]
    assert corpus_bleu([text], [text]) == pytest.approx(100)


def test_tokenizers_are_named():
    named = tokenizers_of([REFERENCES[0], "傍晚我们沿着河岸散步。"])
    assert named == "ICU (zh, no stems, BLEU zh), the metrics' own tokenizers"


@pytest.mark.parametrize("score", [text_metrics, corpus_bleu])
def test_missing_predictions_are_refused(score):
    with pytest.raises(FlyThinkerError, match="2 predictions for 3 references"):
        score(PREDICTIONS[:2], REFERENCES)
