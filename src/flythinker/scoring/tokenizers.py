"""Which words metrics count, by the language of the reference."""

from collections.abc import Iterable
from dataclasses import dataclass

from flythinker.data.language import language_of
from flythinker.data.words import split_words, stemmer_of

# BLEU by its authors' tokenizers: Chinese has one, other unspaced scripts go by characters.
_BLEU = {"zh": "zh", **dict.fromkeys(("ja", "th", "lo", "km", "my"), "char")}


@dataclass(frozen=True)
class Tokenizer:
    """Words of one language; `rouge-score` calls `tokenize`.

    English, and Latin letters of an unknown language, are left to the metrics' own tokenizers
    (ROUGE's, wordpunct), so that their figures are those of the field.
    """

    language: str

    @property
    def is_english(self) -> bool:
        """Whether the metrics' own tokenizers apply."""
        return self.language in ("", "en")

    @property
    def bleu(self) -> str:
        """The name of sacreBLEU's tokenizer."""
        return _BLEU.get(self.language, "13a")

    @property
    def name(self) -> str:
        """For a report."""
        if self.is_english:
            return "the metrics' own tokenizers"
        stems = "Snowball stems" if stemmer_of(self.language) else "no stems"
        return f"ICU ({self.language}, {stems}, BLEU {self.bleu})"

    def tokenize(self, text: str) -> list[str]:
        """Lower-case words, stemmed where Snowball knows the language."""
        words = split_words(text.lower(), self.language)
        stemmer = stemmer_of(self.language)
        return stemmer.stemWords(words) if stemmer else words


def tokenizer_for(reference: str) -> Tokenizer:
    """The tokenizer for a reference and what is compared with it."""
    return Tokenizer(language_of(reference))


def tokenizers_of(references: Iterable[str]) -> str:
    """The tokenizers that references need, named, for a report."""
    return ", ".join(sorted({tokenizer_for(reference).name for reference in references}))
