"""Asking a server for texts as its clients do, and noting how long it took."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any

import openai

from flythinker.data.document import Document

NAME = "bench"
"""Of the model that is asked."""

STUCK_SECONDS = 600  # for a text, the time in the queue included

LENGTHS = (16, 32, 48, 96)  # tokens written
DOCUMENTS = 20  # of an example's user, the newest

_AT_ONCE = 500  # documents in a request


@dataclass(frozen=True)
class Ask:
    """A request: whose, what, how long; with `ignore_eos` exactly so long."""

    user: str | None
    query: str
    max_tokens: int
    ignore_eos: bool = False


@dataclass
class Tally:
    """What one phase saw: seconds of each answer, tokens of all, and what else became of requests.

    `ended` counts requests by how they ended: completed, left, refused (bad ones, as they should
    be), turned away (429), error, stuck, different (another text than alone).
    """

    first: list[float] = field(default_factory=list)
    per_token: list[float] = field(default_factory=list)
    tokens: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def figures(self, seconds: float) -> dict[str, Any]:
        """Tokens a second and percentiles in milliseconds."""
        return {
            "tokens_per_second": self.tokens / seconds,
            "first_token_ms": _percentiles(self.first),
            "per_token_ms": _percentiles(self.per_token),
        }


def client_of(url: str) -> openai.AsyncOpenAI:
    """A client that repeats nothing by itself."""
    return openai.AsyncOpenAI(
        base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=STUCK_SECONDS
    )


async def add_documents(
    client: openai.AsyncOpenAI, user: str, documents: Iterable[Document]
) -> None:
    """Give the server texts of a user."""
    records = [document.record() for document in documents]
    for start in range(0, len(records), _AT_ONCE):
        body = {"documents": records[start : start + _AT_ONCE]}
        await client.post(f"/users/{user}/documents", body=body, cast_to=object)


async def answer(
    client: openai.AsyncOpenAI, ask: Ask, tally: Tally, leave_after: int | None = None
) -> str:
    """Stream a text, whole or up to some pieces of it, and note how long its tokens took."""
    begun = time.perf_counter()
    times: list[float] = []
    text, tokens = "", 0
    async with asyncio.timeout(STUCK_SECONDS):
        async with await client.chat.completions.create(
            model=NAME,
            messages=[{"role": "user", "content": ask.query}],
            user=ask.user or openai.omit,
            max_tokens=ask.max_tokens,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"ignore_eos": ask.ignore_eos},
        ) as stream:
            async for chunk in stream:
                if chunk.usage is not None:
                    tokens = chunk.usage.completion_tokens
                elif piece := chunk.choices[0].delta.content:
                    text += piece
                    times.append(time.perf_counter())
                    if len(times) == leave_after:
                        break
    tally.tokens += tokens or len(times)
    if times:
        tally.first.append(times[0] - begun)
    if tokens > 1 and len(times) > 1:
        tally.per_token.append((times[-1] - times[0]) / (tokens - 1))
    return text


def _percentiles(seconds: list[float]) -> dict[str, float]:
    cuts = quantiles(seconds, n=20, method="inclusive") if len(seconds) > 1 else seconds * 19
    return {"p50": 1000 * median(seconds), "p95": 1000 * cuts[18]} if seconds else {}
