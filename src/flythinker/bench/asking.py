"""Asking a server for texts as its clients do, and noting how long it took."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any

import openai

NAME = "bench"
"""Of the model that is asked."""

STUCK_SECONDS = 120  # without a word


@dataclass(frozen=True)
class Ask:
    """A request: whose, what, how long; every other one is personalized."""

    user: str | None
    query: str
    max_tokens: int


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
