"""A person who has few words, in no order: what a tiny model learns of them shows at once."""

import random

from flythinker.data.example import Document

WORDS = ["harbour", "gull", "rope", "winter", "grey", "boat", "ice", "lamp", "pier", "letter"]


def written(
    count: int, words: list[str] = WORDS, year: int = 2024, sentences: int = 11
) -> list[Document]:
    """So many texts of a day each, of sentences of nine words."""
    draw = random.Random(0)

    def sentence() -> str:
        return " ".join(draw.choices(words, k=9)).capitalize() + "."

    return [
        Document(
            " ".join(sentence() for _ in range(sentences)),
            f"Day {day}",
            f"{year}-{1 + day // 28:02}-{1 + day % 28:02}",
        )
        for day in range(count)
    ]
