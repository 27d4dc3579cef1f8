"""What is wrong with examples, and what is in them."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np

from flythinker.data.corpus import Corpus
from flythinker.data.document import Document
from flythinker.data.example import Example
from flythinker.data.word_runs import RUN, RunIndex
from flythinker.data.words import count_words, plain_words
from flythinker.data.writings import Selection, Source

_CONTROL_TOKEN = re.compile(r"<\|[a-z_]+\|>|<(?:start|end)_of_turn>|\[/?INST\]")
MAX_OVERLAP = 0.5  # share of the target's 8-word runs that one past text may hold
_LONG = 20  # words; shorter targets share whole runs by chance


def check_examples(examples: Sequence[Example]) -> list[str]:
    """Problems of all examples, each a line `example 3 (user ada): …`, numbered from 1."""
    return [
        f"example {number} (user {example.user_id}): {problem}"
        for number, example in enumerate(examples, start=1)
        for problem in check_example(example)
    ]


def check_example(example: Example) -> list[str]:
    """Problems of one example, one line each; none when it is sound.

    Of a history in a corpus the texts themselves are not looked at: `check_documents` does it,
    once for all examples.
    """
    problems = [f"the {name} is empty" for name in ("query", "target") if _is_empty(example, name)]
    problems += _leaks(example)
    problems += _later(example)
    named = [("query", example.query), ("target", example.target)]
    if not isinstance(example.history, Selection):
        problems += [
            f"the history is not in order: history[{i}] ({a.date}) comes before history[{j}] "
            f"({b.date})"
            for i, a, j, b in _disordered(example.history)
        ]
        for index, first in _empty_or_repeated(example.history):
            repeats = "is empty" if first is None else f"repeats history[{first}]"
            problems.append(f"history[{index}] {repeats}")
        named += [(f"history[{index}]", d.text) for index, d in enumerate(example.history)]
    return problems + [f"the {name} {said}" for name, text in named if (said := _control(text))]


def check_documents(corpus: Corpus) -> Iterator[str]:
    """Problems of the documents of a corpus, each a line `documents.parquet:3: …`."""
    for user in corpus.users:
        first_row, documents = corpus.first_row(user), corpus.writings(user).documents
        for i, a, _, b in _disordered(documents):
            yield (
                f"{corpus.path}:{first_row + i}: is not in order: {a.date} comes before {b.date}"
            )
        for index, first in _empty_or_repeated(documents):
            repeats = "is empty" if first is None else f"repeats row {first_row + first}"
            yield f"{corpus.path}:{first_row + index}: the text {repeats}"
        for index, document in enumerate(documents):
            if said := _control(document.text):
                yield f"{corpus.path}:{first_row + index}: the text {said}"


def describe(examples: Iterable[Example]) -> dict[str, float]:
    """Counts of examples, users and un-personalized examples; mean and most of the lengths.

    History lengths count documents, the others words. Examples are looked at one by one.
    """
    users: set[str] = set()
    sums: Counter[str] = Counter()
    most: dict[str, int] = {}
    number = without = 0
    for example in examples:
        users.add(example.user_id)
        number += 1
        without += not example.history
        lengths = {
            "history_documents": len(example.history),
            "query_words": count_words(example.query),
            "target_words": count_words(example.target),
        }
        sums.update(lengths)
        most = {name: max(length, most.get(name, 0)) for name, length in lengths.items()}
    numbers: dict[str, float] = {
        "examples": number,
        "users": len(users),
        "without_history": without,
    }
    for name in ("history_documents", "query_words", "target_words"):
        numbers[f"{name}_mean"] = round(sums[name] / number, 1) if number else 0
        numbers[f"{name}_max"] = most.get(name, 0)
    return numbers


def _is_empty(example: Example, name: str) -> bool:
    return not getattr(example, name).strip()


def _control(text: str) -> str:
    token = _CONTROL_TOKEN.search(text)
    return f"holds a control token, '{token[0]}'; it is read as text" if token else ""


def _leaks(example: Example) -> Iterator[str]:
    """The target, or most of it, must not be readable in the user's own history."""
    target, history = _normalise(example.target), example.history
    words = len(target.split())
    if not words or not history:
        return
    if words < RUN:  # no run of its own: look into every text
        for index, document in enumerate(history):
            if target in _normalise(document.text):
                yield f"the target is inside its own history, in history[{index}]"
        return
    if isinstance(history, Selection):
        shares = _runs_of(history.source).shares(example.target)[np.asarray(history.places)]
    else:
        shares = _runs_of(tuple(history)).shares(example.target)
    for index in (shares > MAX_OVERLAP).nonzero()[0].tolist():
        if shares[index] == 1 and target in _normalise(history[index].text):
            yield f"the target is inside its own history, in history[{index}]"
        elif words >= _LONG:
            yield f"{shares[index]:.0%} of the target is also in history[{index}]"


@lru_cache(maxsize=8)
def _runs_of(history: Source | tuple[Document, ...]) -> RunIndex:
    """The examples of a user stand together and share their texts, so a few are kept."""
    documents = history if isinstance(history, tuple) else history.writings.documents
    return RunIndex([document.text for document in documents])


def _later(example: Example) -> list[str]:
    # of dates in the order of their text the last is later, if any is
    newest = max((document.date for document in example.history), default="")
    if not _is_later(newest, example.date):
        return []
    return [
        f"history[{index}] ({document.date}) is later than the target ({example.date})"
        for index, document in enumerate(example.history)
        if _is_later(document.date, example.date)
    ]


def _disordered(
    documents: Sequence[Document],
) -> Iterator[tuple[int, Document, int, Document]]:
    """Two dated documents that follow each other, and their places, where the first is later."""
    dated = [(i, d) for i, d in enumerate(documents) if d.date]
    for (i, a), (j, b) in pairwise(dated):
        if _is_later(a.date, b.date):
            yield i, a, j, b


def _empty_or_repeated(documents: Sequence[Document]) -> Iterator[tuple[int, int | None]]:
    """The place of a document that is empty, or like an earlier one, and that one's place."""
    first: dict[str, int] = {}
    for index, document in enumerate(documents):
        text = _normalise(document.text)
        if not text:
            yield index, None
        elif (earlier := first.setdefault(text, index)) < index:
            yield index, earlier


def _is_later(first: str, second: str) -> bool:
    """Whether `first` is certainly later: a bare year is not later than a day in it."""
    known = min(len(first), len(second))
    return first[:known] > second[:known]


@lru_cache(maxsize=20_000)
def _normalise(text: str) -> str:
    """Words and nothing else, in lower case, padded so that only whole words are found."""
    words = " ".join(plain_words(text))
    return f" {words} " if words else ""
