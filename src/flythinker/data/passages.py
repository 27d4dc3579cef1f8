"""Dated writings → passages → examples: the recipe that `sotu` and a person's folder share.

A passage is a run of whole paragraphs (or sentences) of one text. An example asks for a passage,
given its heading, topic words and first sentence, from the passages of strictly earlier texts of
the same author: what a person starting to write the next part would have at hand.
"""

import heapq
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from flythinker.data.document import Document
from flythinker.data.example import Example
from flythinker.data.language import language_of
from flythinker.data.sentences import sentence_ends, split_sentences
from flythinker.data.words import count_words, is_unspaced, split_words, stop_words

MIN_WORDS, MAX_WORDS = 150, 420
MIN_TARGET_WORDS = 60
MAX_BEGINNING_WORDS = 100
TOPIC_WORDS = 5
_BULLET = re.compile(r"(?:[-*•·]|--|\(?[\divx]{1,4}[.)])\s")
_PARAGRAPH_END = re.compile(r"\n\s*\n|\n(?=\s*[-*•·]\s)")
_WORD = re.compile(r"[^\W\d_]{4,}")

TopicCounts = tuple[list[str], list[int]]
"""Words of a text, and how often each stands in it."""


@dataclass(frozen=True, slots=True)
class Passage:
    """150-420 words of one text, with the heading above them if there is one."""

    text: str
    heading: str = ""


def cut_passages(
    text: str, min_words: int = MIN_WORDS, max_words: int = MAX_WORDS
) -> list[Passage]:
    """Cut `text` at headings, paragraph ends and, in long paragraphs, sentence ends.

    A text shorter than `min_words` is one passage; left-over pieces of a longer one are dropped.
    """
    passages = list(_cut(text, min_words, max_words))
    return passages or ([Passage(text.strip())] if text.strip() else [])


def is_bullets(passage: Passage) -> bool:
    """Whether most paragraphs are list items: an enumeration, not prose in the author's voice."""
    lines = [line for line in passage.text.split("\n") if line.strip()]
    return sum(bool(_BULLET.match(line)) for line in lines) > len(lines) / 2


def count_topics(text: str) -> TopicCounts:
    """The words of a text that may be its topics, and how often each stands in it."""
    counts = Counter(_topics(text))
    return list(counts), list(counts.values())


class TopicTable:
    """The words of many texts by numbers: the words themselves would fill the memory."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._rows: list[tuple[NDArray[np.int32], NDArray[np.int32]]] = []

    def add(self, topics: TopicCounts) -> int:
        """Add a text; returns its row."""
        words, counts = topics
        numbers = [self._numbers.setdefault(word, len(self._numbers)) for word in words]
        self._rows.append((np.array(numbers, dtype=np.int32), np.array(counts, dtype=np.int32)))
        return len(self._rows) - 1

    def ranked(self, rows: Sequence[int]) -> list[list[str]]:
        """For the text of each row its `TOPIC_WORDS` words of highest TF-IDF over these texts."""
        every = list(self._numbers)
        documents = np.zeros(len(every), dtype=np.int64)
        for row in rows:
            documents[self._rows[row][0]] += 1  # a word is there once
        idf = [math.log((1 + len(rows)) / (1 + n)) + 1 for n in documents.tolist()]
        ranked = []
        for row in rows:
            numbers, counts = (array.tolist() for array in self._rows[row])
            scores = [(-n * idf[i], every[i]) for i, n in zip(numbers, counts, strict=True)]
            ranked.append([word for _, word in heapq.nsmallest(TOPIC_WORDS, scores)])
        return ranked


def topic_words(texts: Iterable[str]) -> list[list[str]]:
    """For each text its `TOPIC_WORDS` words of highest TF-IDF over `texts`, lower case."""
    table = TopicTable()
    return table.ranked([table.add(count_topics(text)) for text in texts])


def temporal_split(occasions: Mapping[str, list[list[Example]]]) -> dict[str, list[Example]]:
    """The last sixth (at least one) of an author's occasions is test, the one before is val.

    Authors with fewer than three occasions are only in train.
    """
    splits: dict[str, list[Example]] = {"train": [], "val": [], "test": []}
    for author_occasions in occasions.values():
        n = len(author_occasions)
        test = n if n < 3 else n - max(1, n // 6)
        val = n if n < 3 else test - 1
        for index, examples in enumerate(author_occasions):
            splits["test" if index >= test else "val" if index >= val else "train"] += examples
    return splits


@dataclass(frozen=True, slots=True)
class Opening:
    """How a passage begins, which is told to who asks for it, and the rest, which is asked for."""

    beginning: str
    rest: str


def opening_of(text: str) -> Opening | None:
    """Cut a passage's first sentence off; None when it is long or leaves too little to write."""
    ends = sentence_ends(text)
    # "Third." or "Thank you." begins nothing: take sentences until there are five words.
    end = next((end for end in ends if count_words(text[:end]) >= 5), ends[-1])
    beginning, rest = " ".join(text[:end].split()), text[end:].strip()
    if count_words(beginning) > MAX_BEGINNING_WORDS or count_words(rest) < MIN_TARGET_WORDS:
        return None
    return Opening(beginning, rest)


def ask(document: Document, heading: str, topics: Sequence[str], opening: Opening) -> str:
    """What asks for the rest of a passage of a document, whose text is not read."""
    date = f" ({document.date})" if document.date else ""
    under = f', under the heading "{heading}"' if heading else ""
    return (
        f'Write the next part of "{document.title}"{date}{under}, '
        f"about {', '.join(topics)}, beginning with: {opening.beginning}"
    )


def ask_for(
    author: str,
    document: Document,
    passage: Passage,
    topics: Sequence[str],
    history: Sequence[Document],
) -> Example | None:
    """The example that asks for `passage` of `document`; None where `opening_of` gives none."""
    opening = opening_of(passage.text)
    if opening is None:
        return None
    query = ask(document, passage.heading, topics, opening)
    return Example(author, query, opening.rest, history, document.date)


def _cut(text: str, min_words: int, max_words: int) -> Iterator[Passage]:
    heading = ""
    current = list[str]()  # sentences; "\n\n" before the first of a paragraph
    words = list[int]()  # of each

    for paragraph in _PARAGRAPH_END.split(text.strip()):
        paragraph = re.sub(r"\s*\n\s*", " ", paragraph).strip()
        if _is_heading(paragraph):
            if sum(words) >= min_words:
                yield Passage("".join(current).strip(), heading)
                current, words = [], []
            if not current:
                heading = paragraph.strip("# .")
                continue
        for index, sentence in enumerate(split_sentences(paragraph)):
            space = "" if is_unspaced(sentence[0]) else " "
            current.append((space if index else "\n\n") + sentence)
            words.append(count_words(current[-1]))
            if sum(words) > max_words:
                cut = _best_cut(current, words, min_words)
                if min_words <= sum(words[:cut]) <= max_words:
                    yield Passage("".join(current[:cut]).strip(), heading)
                    heading = ""
                current, words = current[cut:], words[cut:]
    if min_words <= sum(words) <= max_words:
        yield Passage("".join(current).strip(), heading)


def _best_cut(pieces: list[str], words: list[int], min_words: int) -> int:
    """The last paragraph start with a long enough passage before it, else the last sentence's."""
    total, best = 0, len(pieces) - 1
    for index, piece in enumerate(pieces):
        if piece.startswith("\n") and total >= min_words:
            best = index
        total += words[index]
    return best


def _is_heading(paragraph: str) -> bool:
    if paragraph.startswith("#"):
        return True
    is_short = 0 < len(paragraph) <= 70 and len(paragraph.split()) <= 9
    if not is_short or not paragraph[0].isupper():
        return False
    return paragraph[-1].isalpha() or (paragraph.isupper() and paragraph[-1] == ".")


def _topics(text: str) -> list[str]:
    """The words of a text that may be its topics: long ones, which say something."""
    language = language_of(text)
    if language in ("", "en"):
        return [word for word in _WORD.findall(text.lower()) if word not in _stopwords()]
    stops, shortest = stop_words(language), 2 if is_unspaced(text) else 4
    words = split_words(text.lower(), language)
    return [w for w in words if len(w) >= shortest and w not in stops and not w.isdecimal()]


@lru_cache(maxsize=1)
def _stopwords() -> frozenset[str]:
    from bm25s.stopwords import STOPWORDS_EN_PLUS  # slow to import, and `--help` needs none of it

    return frozenset(STOPWORDS_EN_PLUS)
