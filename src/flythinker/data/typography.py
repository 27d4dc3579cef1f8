"""One spelling of punctuation and letters, so that a text shows its author and not its edition."""

import re
import unicodedata

_ASCII = str.maketrans(
    {"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "--", "⁄": "/", "•": "-", "´": "'"}
)
_ACCENT = re.compile("[\u0300-\u036f]")


def plain_letters(text: str) -> str:
    """`text` with ASCII quotes and dashes and without accents; other scripts stay as they are."""
    decomposed = unicodedata.normalize("NFKD", text).translate(_ASCII)  # é: e and an accent
    return _ACCENT.sub("", decomposed)
