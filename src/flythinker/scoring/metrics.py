"""Text metrics against a reference, all from the field's own libraries, all scaled by 100.

ROUGE is `rouge-score`, BLEU is `sacrebleu` and METEOR is `nltk`, as in LongLaMP's evaluation;
BERTScore is `bert-score`.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from nltk.corpus import wordnet
from nltk.tokenize import wordpunct_tokenize
from nltk.translate.meteor_score import single_meteor_score
from numpy.typing import NDArray
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU

from flythinker.data.words import count_words
from flythinker.errors import FlyThinkerError
from flythinker.scoring.bertscore import bertscore, bertscore_default
from flythinker.scoring.tokenizers import Tokenizer, tokenizer_for

ROUGE_TYPES = ("rouge1", "rouge2", "rougeL")


def text_metrics(
    predictions: Sequence[str], references: Sequence[str], bert_model: str | None = None
) -> dict[str, NDArray[np.float64]]:
    """Score each prediction against its reference.

    Returns one float64 array [n] per metric. `rouge1`, `rouge2`, `rougeL` (F1, Porter stems),
    `bleu` (sentence BLEU, effective order), `meteor` and `bertscore` lie in 0-100, higher is
    better; `length` is in words. Each row is divided into words by the language of its reference
    (`scoring/tokenizers.py`). An empty prediction scores 0 everywhere. `bertscore` is by
    `bert_model` (see there); without one it is left out where MiniLM is not installed.

    Raises `FlyThinkerError` if there is not one prediction for each reference, or `bert_model`
    cannot be loaded.
    """
    _check_lengths(predictions, references)
    rows = []
    for prediction, reference in zip(predictions, references, strict=True):
        tokenizer = tokenizer_for(reference)
        overlaps = _rouge(tokenizer).score(reference, prediction)
        row = {name: 100 * overlaps[name].fmeasure for name in ROUGE_TYPES}
        row["bleu"] = _bleu(tokenizer.bleu).sentence_score(prediction, [reference]).score
        row["meteor"] = 100 * _meteor(prediction, reference, tokenizer)
        row["length"] = count_words(prediction)
        rows.append(row)
    names = (*ROUGE_TYPES, "bleu", "meteor", "length")
    scores = {name: np.array([row[name] for row in rows], dtype=np.float64) for name in names}
    if bert_model or bertscore_default():
        scores["bertscore"] = bertscore(predictions, references, bert_model)
    return scores


def bleu_statistics(predictions: Sequence[str], references: Sequence[str]) -> NDArray[np.int64]:
    """What corpus BLEU is computed from, int64 [n, 10], one row per text; rows add up.

    Columns: matched n-grams (n = 1-4), n-grams (n = 1-4), prediction length, reference length.
    """
    _check_lengths(predictions, references)
    scores = [
        _bleu(tokenizer_for(reference).bleu).sentence_score(prediction, [reference])
        for prediction, reference in zip(predictions, references, strict=True)
    ]
    return np.array([[*s.counts, *s.totals, s.sys_len, s.ref_len] for s in scores], dtype=np.int64)


def bleu_from_statistics(total: NDArray[np.int64]) -> float:
    """Corpus BLEU, 0-100, of summed `bleu_statistics` rows [10]: the figure that papers report."""
    *ngrams, prediction_length, reference_length = total.tolist()
    return BLEU.compute_bleu(
        ngrams[:4], ngrams[4:], prediction_length, reference_length, smooth_method="exp"
    ).score


def meteor_stages() -> str:
    """Which matching stages METEOR uses here: synonyms only if nltk's WordNet is installed."""
    stages = "exact words and stems"
    return stages if isinstance(_synonyms(), _NoSynonyms) else f"{stages}, WordNet synonyms"


@cache
def _rouge(tokenizer: Tokenizer) -> RougeScorer:
    if tokenizer.is_english:
        return RougeScorer(list(ROUGE_TYPES), use_stemmer=True)
    return RougeScorer(list(ROUGE_TYPES), tokenizer=tokenizer)


@cache
def _bleu(tokenize: str) -> BLEU:
    return BLEU(effective_order=True, tokenize=tokenize)


def _meteor(prediction: str, reference: str, tokenizer: Tokenizer) -> float:
    if not tokenizer.is_english:
        # stems are compared as words are: nltk's Porter stemmer knows English alone
        tokens = tokenizer.tokenize(reference), tokenizer.tokenize(prediction)
        return single_meteor_score(*tokens, stemmer=_NoStems(), wordnet=_NoSynonyms())
    # wordpunct needs no downloaded data and, unlike the Treebank tokenizer, separates the
    # full stop of every sentence of a long text, not of the last one alone.
    return single_meteor_score(
        wordpunct_tokenize(reference), wordpunct_tokenize(prediction), wordnet=_synonyms()
    )


class _NoStems:
    """For METEOR of words that are stems already."""

    def stem(self, word: str) -> str:
        return word


class _NoSynonyms:
    """Stands in for WordNet: METEOR's synonym stage then matches nothing."""

    def synsets(self, word: str) -> list[object]:
        return []


@cache
def _synonyms() -> object:
    # WordNet is a download that nltk never makes by itself; without it METEOR runs its first two
    # stages only and scores a little lower.
    try:
        wordnet.ensure_loaded()
    except LookupError:
        return _NoSynonyms()
    return wordnet


def _check_lengths(predictions: Sequence[str], references: Sequence[str]) -> None:
    if len(predictions) != len(references):
        raise FlyThinkerError(
            f"{len(predictions)} predictions for {len(references)} references: "
            "score the examples that the predictions were written for"
        )
