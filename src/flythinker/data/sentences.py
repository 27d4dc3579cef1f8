"""Where sentences end: shared by the cutting of passages and of prompts."""

import re
from collections.abc import Iterator
from itertools import pairwise

from flythinker.data.language import language_of

# A dot after a title, an initial or a common abbreviation ends no sentence.
_ABBREVIATION = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|Gen|Col|Capt|Lt|Sgt|Gov|Sen|Rep|Hon|Rev|Jr|Sr|St|No|Nos|Art|Sec"
    r"|Vol|Fig|Eq|al|vs|etc|cf|i\.e|e\.g|Messrs|Inc|Ltd|Co|Jan|Feb|Aug|Sept|Oct|Nov|Dec)"
    r"|\b[A-Z](?:\.[A-Z])*|\b[IVX]+)\.$"
)
_LOWER_NEXT = re.compile(r"\s+[a-z]")
_END = re.compile(r"""[.!?…]+["'”’)\]]*(?=\s|$)|[。！？]["”’」』）]*""")
_PARAGRAPH_END = re.compile(r"(?=\s*\n\s*\n)")
_BLANK_LINE = re.compile(r"\s*\n\s*\n")
_LINE_BREAK = re.compile(r"(?<!\n)\n(?!\s*\n)")
# An initial or an ordinal ("am 3. Mai"), at which ICU ends a sentence before a capital letter.
_NO_END = re.compile(r"(?:\b\d{1,3}|\b[^\W\d_])\.$")
_SHORT_WORD = re.compile(r"\b[^\W\d_]{1,5}\.$")
# Thai and Lao have no full stop: a space stands after a sentence or a part of one.
_STOPLESS = {"th": "\u0e01-\u0e5b", "lo": "\u0e81-\u0edf"}


def sentence_ends(text: str) -> list[int]:
    """Offsets just after each sentence of `text`, ascending; the last is the text's end.

    A blank line ends a sentence too (headings, list items). English, and what may be English, by
    the rules above; other languages by ICU's, with its list of abbreviations.
    """
    language = language_of(text)
    ends = _english_ends(text) if language in ("", "en") else _icu_ends(text, language)
    whole = len(text.rstrip())
    return sorted({end for end in ends if end < whole} | ({whole} if whole else set()))


def _icu_ends(text: str, language: str) -> list[int]:
    ends = [match.start() for match in _BLANK_LINE.finditer(text) if match.start()]
    unbroken = _LINE_BREAK.sub(" ", text)
    sure = set(_breaks(unbroken, f"{language}@ss=standard"))
    for end in _breaks(unbroken, language):
        # ICU looks for abbreviations in the ends of words too: it takes "Wasser." for one
        before = text[max(0, end - 12) : end]
        abbreviated = end not in sure and _SHORT_WORD.search(before)
        if end and not abbreviated and not _NO_END.search(before):
            ends.append(end)
    if letters := _STOPLESS.get(language):
        spaces = re.finditer(f"(?<=[{letters}])\\s+(?=[{letters}])", text)
        ends += [space.start() for space in spaces]
    return ends


def _breaks(text: str, locale: str) -> Iterator[int]:
    """Where ICU ends sentences, without the white space after them."""
    from icu4py.breakers import SentenceBreaker

    start = 0
    for piece in SentenceBreaker(text, locale):
        yield start + len(piece.rstrip())
        start += len(piece)


def _english_ends(text: str) -> list[int]:
    blank = _PARAGRAPH_END.finditer(text) if "\n" in text else ()  # slow: it looks everywhere
    ends = [match.start() for match in blank if match.start()]
    for match in _END.finditer(text):
        end = match.end()
        abbreviated = match.group().endswith(".") and (
            _LOWER_NEXT.match(text, end) or _ABBREVIATION.search(text[max(0, end - 12) : end])
        )
        if end and not abbreviated:
            ends.append(end)
    return ends


def split_sentences(text: str) -> list[str]:
    """The sentences of `text`, without surrounding white space and none empty."""
    pieces = (text[start:end].strip() for start, end in pairwise([0, *sentence_ends(text)]))
    return [piece for piece in pieces if piece]
