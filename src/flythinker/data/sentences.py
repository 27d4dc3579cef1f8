"""Where sentences end: shared by the cutting of passages and of prompts."""

import re
from itertools import pairwise

# A dot after a title, an initial or a common abbreviation ends no sentence.
_ABBREVIATION = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|Gen|Col|Capt|Lt|Sgt|Gov|Sen|Rep|Hon|Rev|Jr|Sr|St|No|Nos|Art|Sec"
    r"|Vol|Fig|Eq|al|vs|etc|cf|i\.e|e\.g|Messrs|Inc|Ltd|Co|Jan|Feb|Aug|Sept|Oct|Nov|Dec)"
    r"|\b[A-Z](?:\.[A-Z])*|\b[IVX]+)\.$"
)
_LOWER_NEXT = re.compile(r"\s+[a-z]")
_END = re.compile(r"""[.!?…]+["'”’)\]]*(?=\s|$)|[。！？]["”’」』）]*|(?=\s*\n\s*\n)""")


def sentence_ends(text: str) -> list[int]:
    """Offsets just after each sentence of `text`, ascending; the last is the text's end.

    A blank line ends a sentence too (headings, list items).
    """
    ends = []
    for match in _END.finditer(text):
        end = match.end()
        abbreviated = match.group().endswith(".") and (
            _LOWER_NEXT.match(text, end) or _ABBREVIATION.search(text[max(0, end - 12) : end])
        )
        if end and not abbreviated:
            ends.append(end)
    whole = len(text.rstrip())
    return sorted({end for end in ends if end < whole} | ({whole} if whole else set()))


def split_sentences(text: str) -> list[str]:
    """The sentences of `text`, without surrounding white space and none empty."""
    pieces = (text[start:end].strip() for start, end in pairwise([0, *sentence_ends(text)]))
    return [piece for piece in pieces if piece]
