"""What others wait while a server learns somebody: bursts of texts, in the middle of it and not."""

import asyncio
import random
import time
from collections.abc import Sequence
from itertools import cycle, islice, pairwise
from statistics import median
from typing import Any

import openai

from flythinker.bench.asking import Ask, Tally, add_documents, answer, client_of
from flythinker.bench.rounds import Rounds, ratio
from flythinker.bench.served import Served, ServeSetting, server_of
from flythinker.data.example import Document, Example
from flythinker.errors import FlyThinkerError
from flythinker.progress import track

ROUNDS = 5
BURSTS = 3  # a round
TOKENS = 32  # of a text
PAUSE = 3.5
"""Seconds between bursts: learning goes on after two quiet ones."""

_USER = "learned"
_DOCUMENTS = 300  # which take longer than a round does
_SENTENCES = 11  # of a document
_WORDS = 9  # of a sentence
_PATIENCE = 300  # seconds until learning has begun


def learning_figures(setting: ServeSetting, examples: Sequence[Example]) -> dict[str, Any]:
    """As many texts as there are slots begin at once, while somebody is half learned or nobody is.

    Returns, by round, the 95th percentile of a text's time per token and the median time to the
    first token of a burst, which is what interrupts learning; their ratios, with over without; and
    seconds of the processor that learning took in pauses, of which `idle_pauses` had none, and
    while texts were written.
    """
    with server_of(setting, adapt_after=1) as served:
        return asyncio.run(_rounds(setting, examples, served))


async def _rounds(
    setting: ServeSetting, examples: Sequence[Example], served: Served
) -> dict[str, Any]:
    some = islice(cycle(examples), setting.slots)
    asks = [Ask(None, example.query, TOKENS, ignore_eos=True) for example in some]
    per_token: Rounds = {"without": [], "with": []}
    first: Rounds = {"without": [], "with": []}
    learned: Rounds = {"in pauses": [], "beside texts": []}
    async with client_of(served.url) as client:
        for _ in range(2):
            await _burst(client, asks, Tally())  # warms up
        for name in track(ROUNDS * list(per_token), "Measuring"):
            whole, firsts = Tally(), []
            if name == "with":
                await _begin_learning(client, served, examples)
            for _ in range(BURSTS):
                used = [served.learning_seconds()]
                await asyncio.sleep(PAUSE)
                used.append(served.learning_seconds())
                firsts.append(await _burst(client, asks, whole))
                used.append(served.learning_seconds())
                if name == "with":
                    for when, (before, after) in zip(learned, pairwise(used), strict=True):
                        learned[when].append(after - before)
            if name == "with":
                await client.delete(f"/users/{_USER}/documents", cast_to=object)
            per_token[name].append(whole.figures(1)["per_token_ms"]["p95"])
            first[name].append(1000 * median(firsts))
    return {
        "per_token_ratio": ratio(per_token["with"], per_token["without"]),
        "first_token_ratio": ratio(first["with"], first["without"]),
        "per_token_ms_p95": per_token,
        "first_token_ms": first,
        "learning_seconds": {when: sum(each) for when, each in learned.items()},
        "idle_pauses": learned["in pauses"].count(0),
    }


async def _burst(client: openai.AsyncOpenAI, asks: Sequence[Ask], tally: Tally) -> float:
    """Write all texts at once; returns the seconds to the first token of any."""
    burst = Tally()
    await asyncio.gather(*(answer(client, ask, burst) for ask in asks))
    tally.per_token += burst.per_token
    return min(burst.first)


async def _begin_learning(
    client: openai.AsyncOpenAI, served: Served, examples: Sequence[Example]
) -> None:
    """Give a user texts of words in random order, and wait until they are being learned."""
    draw = random.Random(0)
    words = " ".join(example.query for example in examples).split()

    def text() -> str:
        sentences = (" ".join(draw.choices(words, k=_WORDS)) for _ in range(_SENTENCES))
        return "".join(f"{sentence.capitalize()}. " for sentence in sentences)

    documents = [Document(text(), date=str(1000 + year)) for year in range(_DOCUMENTS)]
    await add_documents(client, _USER, documents)
    patience = time.monotonic() + _PATIENCE
    while not served.learns:
        if time.monotonic() > patience:
            raise FlyThinkerError("nobody is being learned: is there memory for a second model?")
        await asyncio.sleep(0.1)
