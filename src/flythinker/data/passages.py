"""Dated writings → passages → examples: the recipe that `sotu` and a person's folder share.

A passage is a run of whole paragraphs (or sentences) of one text. An example asks for a passage,
given its heading, topic words and first sentence, from the passages of strictly earlier texts of
the same author: what a person starting to write the next part would have at hand.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

from flythinker.data.example import Document, Example
from flythinker.data.language import language_of
from flythinker.data.sentences import sentence_ends, split_sentences
from flythinker.data.words import (
    count_words,
    is_unspaced,
    plain_words,
    split_words,
    stop_words,
)
from flythinker.progress import track

MIN_WORDS, MAX_WORDS = 150, 420
MIN_TARGET_WORDS = 60
MAX_BEGINNING_WORDS = 100
TOPIC_WORDS = 5
_SHINGLE = 8
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


@lru_cache(maxsize=20_000)
def shingles(text: str) -> frozenset[int]:
    """Hashes of all runs of 8 words, letters and digits only: what near-duplicates share."""
    words = plain_words(text)
    runs = max(1, len(words) - _SHINGLE + 1)
    return frozenset(hash(tuple(words[start : start + _SHINGLE])) for start in range(runs))


def topic_words(texts: Sequence[str]) -> list[list[str]]:
    """For each text its `TOPIC_WORDS` words of highest TF-IDF over `texts`, lower case."""
    counts = [Counter(_topics(text)) for text in texts]
    documents = Counter(word for count in counts for word in count)
    idf = {word: math.log((1 + len(texts)) / (1 + n)) + 1 for word, n in documents.items()}
    return [
        sorted(count, key=lambda word: (-count[word] * idf[word], word))[:TOPIC_WORDS]
        for count in counts
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
    `keep_first`.
    """
    seen: set[int] = set()
    rows: list[tuple[str, Document, Passage]] = []
    for author, documents in track(sorted(writings.items()), "Cutting texts", transient=True):
        for document in sorted(documents, key=lambda d: d.date):
            for passage in filter(keep, cut_passages(document.text)):
                runs = shingles(passage.text)
                if not is_bullets(passage) and len(runs & seen) <= len(runs) / 2:
                    rows.append((author, document, passage))
                seen |= runs
    topics = iter(topic_words([passage.text for _, _, passage in rows]))

    occasions: dict[str, list[list[Example]]] = {}
    for author, author_rows in groupby(rows, key=lambda row: row[0]):
        history: tuple[Document, ...] = ()
        occasions[author] = []
        for date, group in groupby(author_rows, key=lambda row: row[1].date):
            made = [(document, passage, next(topics)) for _, document, passage in group]
            examples = [e for parts in made if (e := ask_for(author, *parts, history))]
            if examples and (history or keep_first):
                occasions[author].append(examples)
            history += tuple(Document(p.text, d.title, date) for d, p, _ in made)
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
    history: tuple[Document, ...],
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
    heading, current = "", list[str]()  # sentences; "\n\n" before the first of a paragraph

    def words(pieces: list[str]) -> int:
        return sum(count_words(piece) for piece in pieces)

    for paragraph in _PARAGRAPH_END.split(text.strip()):
        paragraph = re.sub(r"\s*\n\s*", " ", paragraph).strip()
        if _is_heading(paragraph):
            if words(current) >= min_words:
                yield Passage("".join(current).strip(), heading)
                current = []
            if not current:
                heading = paragraph.strip("# .")
                continue
        for index, sentence in enumerate(split_sentences(paragraph)):
            space = "" if is_unspaced(sentence[0]) else " "
            piece = (space if index else "\n\n") + sentence
            if words([*current, piece]) > max_words:
                cut = _best_cut([*current, piece], min_words)
                if min_words <= words(current[:cut]) <= max_words:
                    yield Passage("".join(current[:cut]).strip(), heading)
                    heading = ""
                current = current[cut:]
            current.append(piece)
    if min_words <= words(current) <= max_words:
        yield Passage("".join(current).strip(), heading)


def _best_cut(pieces: list[str], min_words: int) -> int:
    """The last paragraph start with a long enough passage before it, else the last sentence's."""
    total, best = 0, len(pieces) - 1
    for index, piece in enumerate(pieces):
        if piece.startswith("\n") and total >= min_words:
            best = index
        total += count_words(piece)
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
