"""What a user with very many past texts waits, beside one with ten, on a benchmark's server."""

import random
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import openai

from flythinker.bench.asking import Ask, Tally, add_documents, answer
from flythinker.data.example import Document, Example

FEW = 10
ROUNDS = 7
_MOST_WORDS = 150  # of a document


async def large_user_figures(
    client: openai.AsyncOpenAI, examples: Sequence[Example], documents: int
) -> dict[str, Any]:
    """Medians over rounds in which the user of ten documents and the large one ask in turn.

    Returns milliseconds to the first token of both, of the large one also right after a document
    was added, and the ratio of the two; and how long that document took to add.
    """
    draw = random.Random(0)
    texts = [one.text for example in examples for one in example.history] or ["text"]
    words = " ".join(texts).split()
    length = min(_MOST_WORDS, len(words) // len(texts))  # as the prompts of the data
    await _add(client, "few", FEW, words, length, draw)
    await _add(client, "many", documents, words, length, draw)
    first: dict[str, list[float]] = {"few": [], "many": [], "after adding": []}
    adding: list[float] = []
    for number in range(ROUNDS + 1):
        for name in first:
            user = "few" if name == "few" else "many"
            if name == "after adding":
                begun = time.perf_counter()
                await _add(client, user, 1, words, length, draw)
                adding.append(time.perf_counter() - begun)
            # other words each time: no prompt was read before
            query = f"Write about {' '.join(draw.choices(words, k=12))}."
            tally = Tally()
            await answer(client, Ask(user, query, 2), tally)
            if number and tally.first:  # the first round is warm-up
                first[name].append(tally.first[0])
    seconds = {name: median(times) for name, times in first.items()}
    return {
        "documents": documents,
        "first_token_ms_of_ten": 1000 * seconds["few"],
        "first_token_ms": 1000 * seconds["many"],
        "first_token_ms_after_adding": 1000 * seconds["after adding"],
        "ratio": seconds["many"] / seconds["few"],
        "adding_ms": 1000 * median(adding),
    }


async def _add(
    client: openai.AsyncOpenAI,
    user: str,
    count: int,
    words: Sequence[str],
    length: int,
    draw: random.Random,
) -> None:
    """Give a user so many documents of words in random order, no two alike."""
    texts = (f"{' '.join(draw.choices(words, k=length))}. {draw.random()}" for _ in range(count))
    await add_documents(client, user, [Document(text, date="2024-05") for text in texts])
