"""The words of a text in any language: one analysis for retrieval, passages, topics and metrics.

English is analysed as it always was, by `\\w+` and white space: measured results depend on it.
"""

import re
from functools import cache, lru_cache
from itertools import pairwise

import Stemmer

# Scripts that put no space between words (Han, kana, Thai, Lao, Khmer, Burmese).
_UNSPACED = (
    "\u0e01-\u0e5b\u0e81-\u0edf\u1000-\u109f\u1780-\u17ff\u3005\u3040-\u30ff\u3400-\u4dbf"
    "\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_ANY_UNSPACED = re.compile(f"[{_UNSPACED}]")
# Korean has spaces, but a noun and its particles are one word: it is searched by pairs as well.
_RUN = re.compile(f"([{_UNSPACED}]+|[\uac00-\ud7af]+)")
_STEMMERS = {
    **{"ar": "arabic", "hy": "armenian", "eu": "basque", "ca": "catalan", "cs": "czech"},
    **{"da": "danish", "nl": "dutch", "en": "english", "eo": "esperanto", "et": "estonian"},
    **{"fi": "finnish", "fr": "french", "de": "german", "el": "greek", "hi": "hindi"},
    **{"hu": "hungarian", "id": "indonesian", "ga": "irish", "it": "italian"},
    **{"lt": "lithuanian", "ne": "nepali", "no": "norwegian", "fa": "persian", "pl": "polish"},
    **{"pt": "portuguese", "ro": "romanian", "ru": "russian", "sr": "serbian", "es": "spanish"},
    **{"sv": "swedish", "ta": "tamil", "tr": "turkish", "yi": "yiddish"},
}


def is_unspaced(text: str) -> bool:
    """Whether words of `text` stand without spaces between them."""
    return not text.isascii() and _ANY_UNSPACED.search(text) is not None


def split_words(text: str, language: str = "und") -> list[str]:
    """The words of a text as ICU divides it for its language, without punctuation."""
    from icu4py.breakers import WordBreaker

    return [word for word in WordBreaker(text, language or "und") if any(map(str.isalnum, word))]


def count_words(text: str) -> int:
    """How many words a text has: by white space, and where it has none by ICU."""
    return len(split_words(text) if is_unspaced(text) else text.split())


def plain_words(text: str) -> list[str]:
    """Lower-case words for comparing texts with each other, whatever their language."""
    return split_words(text.lower()) if is_unspaced(text) else re.findall(r"\w+", text.lower())


@lru_cache(maxsize=8_192)
def search_terms(text: str, language: str) -> tuple[str, ...]:
    """What a text is found by: stems without stop words, and pairs of unspaced letters.

    Cached, for histories repeat their documents. `language` empty: English, in Latin letters the
    likeliest; a word that English stems wrongly is stemmed wrongly in query and text alike.
    """
    language = language or "en"
    if language == "en" and not is_unspaced(text):
        words = re.findall(r"\w+", text.lower())
    else:
        words = [term for piece in _RUN.split(text.lower()) for term in _terms(piece, language)]
    stops = stop_words(language)
    words = [word for word in words if word not in stops]
    stemmer = stemmer_of(language)
    return tuple(stemmer.stemWords(words) if stemmer else words)


@cache
def stop_words(language: str) -> frozenset[str]:
    """Words of a language too common to say anything; none where there is no list of them."""
    if language == "en":
        from bm25s.stopwords import STOPWORDS_EN

        return frozenset(STOPWORDS_EN)
    from stopwordsiso import has_lang, stopwords

    return frozenset(stopwords(language)) if has_lang(language) else frozenset()


@cache
def stemmer_of(language: str) -> Stemmer.Stemmer | None:
    """Snowball's stemmer of a language, if it has one."""
    name = _STEMMERS.get(language)
    return Stemmer.Stemmer(name) if name in Stemmer.algorithms() else None


def _terms(piece: str, language: str) -> list[str]:
    """Pairs of letters of an unspaced run, else the words of other text."""
    if not _RUN.fullmatch(piece):
        return split_words(piece, language)
    return [first + second for first, second in pairwise(piece)] or [piece]
