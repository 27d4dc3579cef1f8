"""What is wrong with examples, and what is in them."""

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from statistics import mean

from flythinker.data.example import Document, Example
from flythinker.data.passages import shingles
from flythinker.data.words import count_words, plain_words

_CONTROL_TOKEN = re.compile(r"<\|[a-z_]+\|>|<(?:start|end)_of_turn>|\[/?INST\]")
MAX_OVERLAP = 0.5  # share of the target's 8-word runs that one past text may hold


def check_examples(examples: Sequence[Example]) -> list[str]:
    """Problems of all examples, each a line `example 3 (user ada): …`, numbered from 1."""
    return [
        f"example {number} (user {example.user_id}): {problem}"
        for number, example in enumerate(examples, start=1)
        for problem in check_example(example)
    ]


def check_example(example: Example) -> list[str]:
    """Problems of one example, one line each; none when it is sound."""
    problems = [f"the {name} is empty" for name in ("query", "target") if _is_empty(example, name)]
    problems += _check_leaks(example)
    problems += _check_order(example)
    texts = [_normalise(document.text) for document in example.history]
    for index, text in enumerate(texts):
        if not text:
            problems.append(f"history[{index}] is empty")
        elif (first := texts.index(text)) < index:
            problems.append(f"history[{index}] repeats history[{first}]")
    named = [("query", example.query), ("target", example.target)]
    named += [(f"history[{index}]", d.text) for index, d in enumerate(example.history)]
    for name, text in named:
        if token := _CONTROL_TOKEN.search(text):
            problems.append(f"the {name} holds a control token, '{token[0]}'; it is read as text")
    return problems


def describe(examples: Sequence[Example]) -> dict[str, float]:
    """Counts of examples, users and un-personalized examples; mean and most of the lengths.

    History lengths count documents, the others words.
    """
    users = {example.user_id for example in examples}
    numbers: dict[str, float] = {
        "examples": len(examples),
        "users": len(users),
        "without_history": sum(not example.history for example in examples),
    }
    lengths = {
        "history_documents": [len(example.history) for example in examples],
        "query_words": [count_words(example.query) for example in examples],
        "target_words": [count_words(example.target) for example in examples],
    }
    for name, values in lengths.items():
        numbers[f"{name}_mean"] = round(mean(values), 1) if values else 0
        numbers[f"{name}_max"] = max(values, default=0)
    return numbers


def _is_empty(example: Example, name: str) -> bool:
    return not getattr(example, name).strip()


def _check_leaks(example: Example) -> list[str]:
    """The target, or most of it, must not be readable in the user's own history."""
    target, runs = _normalise(example.target), shingles(example.target)
    problems = []
    for index, document in enumerate(example.history if target else ()):
        if target in _normalise(document.text):
            problems.append(f"the target is inside its own history, in history[{index}]")
        elif len(target.split()) >= 20:  # shorter ones share whole runs by chance
            share = len(runs & shingles(document.text)) / len(runs)
            if share > MAX_OVERLAP:
                problems.append(f"{share:.0%} of the target is also in history[{index}]")
    return problems


def _check_order(example: Example) -> list[str]:
    problems = [
        f"history[{index}] ({document.date}) is later than the target ({example.date})"
        for index, document in enumerate(example.history)
        if _is_later(document.date, example.date)
    ]
    dated: list[tuple[int, Document]] = [(i, d) for i, d in enumerate(example.history) if d.date]
    problems += [
        f"the history is not in order: history[{i}] ({a.date}) comes before history[{j}] ({b.date})"
        for (i, a), (j, b) in pairwise(dated)
        if _is_later(a.date, b.date)
    ]
    return problems


def _is_later(first: str, second: str) -> bool:
    """Whether `first` is certainly later: a bare year is not later than a day in it."""
    known = min(len(first), len(second))
    return first[:known] > second[:known]


@lru_cache(maxsize=20_000)
def _normalise(text: str) -> str:
    """Words and nothing else, in lower case, padded so that only whole words are found."""
    words = " ".join(plain_words(text))
    return f" {words} " if words else ""
