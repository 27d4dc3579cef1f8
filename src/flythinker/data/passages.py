"""Dated writings → passages → examples: the recipe that `sotu` and a person's folder share.

A passage is a run of whole paragraphs (or sentences) of one text. An example asks for a passage,
given its heading, topic words and first sentence, from the passages of strictly earlier texts of
the same author: what a person starting to write the next part would have at hand.
"""

import heapq
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from flythinker.data.document import Document
from flythinker.data.example import Example
from flythinker.data.language import language_of
from flythinker.data.sentences import sentence_ends, split_sentences
from flythinker.data.word_runs import seen_before, word_runs
from flythinker.data.words import count_words, is_unspaced, split_words, stop_words
from flythinker.data.writings import Selection, Writings
from flythinker.progress import track

MIN_WORDS, MAX_WORDS = 150, 420
MIN_TARGET_WORDS = 60
MAX_BEGINNING_WORDS = 100
TOPIC_WORDS = 5
_BULLET = re.compile(r"(?:[-*•·]|--|\(?[\divx]{1,4}[.)])\s")
_PARAGRAPH_END = re.compile(r"\n\s*\n|\n(?=\s*[-*•·]\s)")
_WORD = re.compile(r"[^\W\d_]{4,}")


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


def topic_words(texts: Iterable[str]) -> list[list[str]]:
    """For each text its `TOPIC_WORDS` words of highest TF-IDF over `texts`, lower case."""
    # a number for each word: of many texts the words themselves would fill the memory
    numbers: dict[str, int] = {}
    documents: list[int] = []
    counted: list[tuple[NDArray[np.int32], list[int]]] = []
    for text in texts:
        count = Counter(_topics(text))
        ids = [numbers.setdefault(word, len(numbers)) for word in count]
        documents += [0] * (len(numbers) - len(documents))
        for number in ids:
            documents[number] += 1
        counted.append((np.array(ids, dtype=np.int32), list(count.values())))
    words = list(numbers)
    idf = [math.log((1 + len(counted)) / (1 + n)) + 1 for n in documents]
    return [
        [
            word
            for _, word in heapq.nsmallest(
                TOPIC_WORDS,
                ((-n * idf[i], words[i]) for i, n in zip(ids.tolist(), counts, strict=True)),
            )
        ]
        for ids, counts in counted
    ]


def examples_by_occasion(
    writings: Mapping[str, Sequence[Document]],
    *,
    keep: Callable[[Passage], bool] = lambda passage: True,
    keep_first: bool = False,
) -> dict[str, list[list[Example]]]:
    """Build every author's examples, one list per date of writing, oldest first.

    Texts of the same date are one occasion, so that a history is strictly earlier than its
    target. `keep` filters passages; near-duplicates (over half of the 8-word runs seen before)
    are dropped everywhere. An author's first occasion has no history and is left out unless
    `keep_first`. The histories of an author are selections of the same texts.
    """
    cut = [
        (author, document, passage)
        for author, documents in track(sorted(writings.items()), "Cutting texts", transient=True)
        for document in sorted(documents, key=lambda d: d.date)
        for passage in filter(keep, cut_passages(document.text))
    ]
    repeated = seen_before([word_runs(passage.text) for _, _, passage in cut])
    rows = [
        row
        for row, known in zip(cut, repeated, strict=True)
        if known <= 0.5 and not is_bullets(row[2])
    ]
    topics = iter(topic_words(passage.text for _, _, passage in rows))

    occasions: dict[str, list[list[Example]]] = {}
    for author, author_rows in groupby(rows, key=lambda row: row[0]):
        written = Writings()
        occasions[author] = []
        for date, group in groupby(author_rows, key=lambda row: row[1].date):
            history = Selection(written, range(len(written.documents)))
            made = [(document, passage, next(topics)) for _, document, passage in group]
            examples = [e for parts in made if (e := ask_for(author, *parts, history))]
            if examples and (history or keep_first):
                occasions[author].append(examples)
            for document, passage, _ in made:
                written.append(Document(passage.text, document.title, date))
    return occasions


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


def ask_for(
    author: str,
    document: Document,
    passage: Passage,
    topics: list[str],
    history: Sequence[Document],
) -> Example | None:
    """The example that asks for `passage` of `document`, whose text is not read.

    None when the first sentence, which is given, is long or leaves too little to write.
    """
    ends = sentence_ends(passage.text)
    # "Third." or "Thank you." begins nothing: take sentences until there are five words.
    end = next((end for end in ends if count_words(passage.text[:end]) >= 5), ends[-1])
    beginning, target = " ".join(passage.text[:end].split()), passage.text[end:].strip()
    if count_words(beginning) > MAX_BEGINNING_WORDS or count_words(target) < MIN_TARGET_WORDS:
        return None
    date = f" ({document.date})" if document.date else ""
    heading = f', under the heading "{passage.heading}"' if passage.heading else ""
    query = (
        f'Write the next part of "{document.title}"{date}{heading}, '
        f"about {', '.join(topics)}, beginning with: {beginning}"
    )
    return Example(author, query, target, history, document.date)


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
