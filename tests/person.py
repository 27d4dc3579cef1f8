"""A person who has few words, in no order: what a tiny model learns of them shows at once."""

import random

from flythinker.data.example import Document

WORDS = ["harbour", "gull", "rope", "winter", "grey", "boat", "ice", "lamp", "pier", "letter"]


def written(count: int, seed: int = 0) -> list[Document]:
    """So many texts of a day each, of 99 words."""
    draw = random.Random(seed)

    def sentence() -> str:
        return " ".join(draw.choices(WORDS, k=9)).capitalize() + "."

    return [
        Document(
            " ".join(sentence() for _ in range(11)),
            f"Day {day}",
            f"2024-{1 + day // 28:02}-{1 + day % 28:02}",
        )
        for day in range(count)
    ]
