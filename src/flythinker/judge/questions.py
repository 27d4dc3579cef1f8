"""What a judge is asked: some of the user's past texts, the task, the reference and two texts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from flythinker.data.example import Example
from flythinker.data.profile import cut_to_tokens
from flythinker.data.retrieval import retrieve
from flythinker.reporting.templates import template

PAST_TEXTS = 4
PAST_WORDS = 800
"""The judge sees at most so many of the most relevant past texts, in so many words together."""


@dataclass(frozen=True)
class Question:
    """One call to the judge: the texts of the methods `a` and `b` on one example, in this order."""

    example: int
    a: str
    b: str
    prompt: str


def build_questions(
    examples: Sequence[Example], outputs: Mapping[str, Sequence[str]], baseline: str
) -> list[Question]:
    """For each example and each other method, its text shown as A and then the same swapped.

    `outputs` maps a method's name to its texts in the examples' order.
    """
    others = [name for name in outputs if name != baseline]
    return [
        Question(index, a, b, build_prompt(example, outputs[a][index], outputs[b][index]))
        for index, example in enumerate(examples)
        for name in others
        for a, b in ((name, baseline), (baseline, name))
    ]


def build_prompt(example: Example, a: str, b: str) -> str:
    """What the judge reads. Every text stands between tags that no text can close."""
    texts = {
        "past_texts": _past_texts(example),
        "query": example.query.strip(),
        "reference": example.target.strip(),
        "a": a.strip(),
        "b": b.strip(),
    }
    return template("judge/judge_prompt.md.j2").render(texts, mark=_mark(json.dumps(texts)))


def plan(questions: Sequence[Question]) -> dict[str, Any]:
    """What a run would do: its `calls`, roughly its `prompt_tokens`, the first pair's `prompts`."""
    return {
        "calls": len(questions),
        # four characters a token is the usual estimate for English
        "prompt_tokens": sum(len(question.prompt) for question in questions) // 4,
        "prompts": [question.prompt for question in questions[:2]],
    }


def _past_texts(example: Example) -> list[str]:
    """The most relevant past texts, the last one cut where `PAST_WORDS` are full."""
    texts, left = [], PAST_WORDS
    for document in retrieve(example.history, example.query, PAST_TEXTS, "bm25"):
        whole = f"{document.title}\n\n{document.text}".strip()
        text = cut_to_tokens(whole, left, lambda words: range(len(words.split())))
        texts.append(text)
        left -= len(text.split())
        if len(text) < len(whole):
            break
    return [text for text in texts if text]


def _mark(text: str) -> str:
    """Eight hex digits that `text` does not hold, always the same ones for it."""
    mark = sha256(text.encode()).hexdigest()[:8]
    return mark if mark not in text else _mark(mark + text)
