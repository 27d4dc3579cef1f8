"""Which language a text is in, without a network."""

import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

SURE = 0.75
"""Below this confidence the language of a text is unknown, and a caller's fallback applies."""
_READ = 2_000  # characters; more make no text's language clearer
_LETTER = re.compile(r"[^\W\d_]")
_LATIN = re.compile("[A-Za-z\u00aa-\u024f\u1e00-\u1eff]")
_WORD = re.compile(r"[a-z]+")
# Words that English is full of and other languages in Latin letters are not.
_ENGLISH = frozenset(
    {
        *("the", "of", "and", "that", "with", "for", "this", "from", "have", "are", "was", "were"),
        *("be", "been", "by", "which", "it", "its", "not", "they", "their", "our", "has", "will"),
        *("you", "your"),
    }
)
_FEW_WORDS = 4  # of fewer in Latin letters (names, a heading) a guess is often wrong
_ENGLISH_SHARE = 0.15  # of all words; English prose has about 0.3
# A script that one of its languages is written in almost alone.
_SCRIPTS = (
    ("ja", re.compile("[\u3040-\u30ff]")),  # kana, before Chinese: Japanese has Han letters too
    ("ko", re.compile("[\uac00-\ud7af]")),
    ("zh", re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")),
    ("th", re.compile("[\u0e01-\u0e5b]")),
    ("lo", re.compile("[\u0e81-\u0edf]")),
    ("km", re.compile("[\u1780-\u17ff]")),
    ("my", re.compile("[\u1000-\u109f]")),
    ("el", re.compile("[\u0370-\u03ff\u1f00-\u1fff]")),
    ("he", re.compile("[\u0590-\u05ff]")),
)


@lru_cache(maxsize=8_192)
def language_of(text: str) -> str:
    """ISO 639 code of a text's language; empty where unknown, and then in Latin letters.

    `und` (as in BCP 47) is an unknown language in other letters. Numbers and names alone, and
    most texts of a few words, are unknown.
    """
    sample = text[:_READ]
    if sample.isascii():
        return _latin_language(sample)
    letters = len(_LETTER.findall(sample))
    latin = len(_LATIN.findall(sample))
    if 2 * latin >= letters:
        return _latin_language(sample)
    for language, script in _SCRIPTS:
        if 5 * len(script.findall(sample)) >= letters - latin:
            return language
    language, _ = _identifier().classify(sample)
    return language if language != "en" else "und"


def _latin_language(text: str) -> str:
    words = _WORD.findall(text.lower())
    english = sum(word in _ENGLISH for word in re.findall(r"\w+", text.lower()))
    if len(words) < _FEW_WORDS:
        return ""
    if english >= _ENGLISH_SHARE * len(words):
        return "en"  # most of what is read here, and not worth a classifier's time
    language, confidence = _identifier().classify(text)
    return language if confidence >= SURE else ""


@cache
def _identifier() -> "LanguageIdentifier":
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    # Those of ISO 639-1, not dialects; no Latin, which English headings look like.
    known = {code for code in identifier.labels if len(code) == 2}
    identifier.set_languages(sorted(known - {"la", "vo"}))
    return identifier
