"""A server under load: many clients at once against one request at a time, and what goes wrong.

The server is a process of its own, asked over HTTP by the official client, all on this machine.
"""

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from statistics import median
from typing import Any

import openai
import psutil
from rich.table import Table

from flythinker.bench.asking import (
    DOCUMENTS,
    LENGTHS,
    NAME,
    Ask,
    Tally,
    add_documents,
    answer,
    client_of,
)
from flythinker.bench.large_user import large_user_figures
from flythinker.bench.learning import learning_figures
from flythinker.bench.persons import persons_figures
from flythinker.bench.rounds import as_json, describe_machine
from flythinker.bench.served import Served, ServeSetting, server_of
from flythinker.data.example import Example, read_examples, sample_examples

SAMPLE_SECONDS = 1.0
FLAT = 0.03  # growth of memory that is none


def bench_serve(setting: ServeSetting) -> dict[str, Any]:
    """Ask one request at a time, then with many clients; greedily, each text against the first.

    Returns figures of both phases, what became of the requests, the server's memory, and under
    `failures` in words what must not happen: server errors, stuck requests, texts that differ from
    those written alone, requests left over in the server, memory that grows after warm-up.
    """
    examples = sample_examples(read_examples(setting.data), setting.requests)
    compared = {}  # on servers of their own
    if setting.persons:
        compared["persons"] = as_json(persons_figures(setting, examples))
    if setting.learning:
        compared["learning"] = as_json(learning_figures(setting, examples))
    with server_of(setting) as served:
        return asyncio.run(_bench(setting, examples, served)) | compared


async def _bench(
    setting: ServeSetting, examples: Sequence[Example], served: Served
) -> dict[str, Any]:
    async with client_of(served.url) as client:
        asks = await _store_users(client, examples)
        expected = [(await answer(client, ask, Tally())) for ask in asks]  # also warms up
        alone = Tally()
        begun = time.perf_counter()
        for ask in asks:
            await answer(client, ask, alone)
        alone_seconds = time.perf_counter() - begun
        together = Tally()
        memory: list[float] = []
        begun = time.perf_counter()
        async with _sampled(served.process, memory):
            await asyncio.gather(
                *(
                    _client(
                        client, setting, number, list(zip(asks, expected, strict=True)), together
                    )
                    for number in range(setting.clients)
                )
            )
        together_seconds = time.perf_counter() - begun
        left_over = await _left_over(client)
        large = (
            await large_user_figures(client, examples, setting.large_user)
            if setting.large_user
            else {}
        )
    growth = _growth(memory)
    figures = {
        "alone": alone.figures(alone_seconds),
        "together": together.figures(together_seconds),
        "throughput_gain": (together.tokens / together_seconds) / (alone.tokens / alone_seconds),
        "requests": dict(together.ended),
        "large_user": large,
        "memory_mib": {"median": median(memory), "growth_after_warm_up": growth},
        "setting": vars(setting) | {"data": str(setting.data)},
        "environment": describe_machine(),
    }
    failures = [
        f"{n} {how}" for how in ("error", "stuck", "different") if (n := together.ended[how])
    ]
    failures += together.problems[:5]
    if left_over:
        failures.append(f"{left_over} texts left over in the server")
    if growth > FLAT:
        failures.append(f"memory grew by {growth:.1%} after warm-up")
    return figures | {"failures": failures}


async def _client(
    client: openai.AsyncOpenAI,
    setting: ServeSetting,
    number: int,
    known: Sequence[tuple[Ask, str]],
    tally: Tally,
) -> None:
    """One client, asking again and again until the time is over."""
    draw = random.Random(setting.seed * 1000 + number)
    end = time.perf_counter() + setting.seconds
    while time.perf_counter() < end:
        ask, expected = draw.choice(known)
        chance = draw.random()
        try:
            if chance < setting.bad:
                ended = await _ask_badly(client, ask, draw)
            elif chance < setting.bad + setting.leaving:
                await answer(client, ask, tally, leave_after=draw.randrange(1, 8))
                ended = "left"
            else:
                same = await answer(client, ask, tally) == expected
                ended = "completed" if same else "different"
        except openai.RateLimitError as error:
            ended = "turned away"
            await asyncio.sleep(float(error.response.headers["retry-after"]))
        except (TimeoutError, openai.APITimeoutError):
            ended = "stuck"
        except openai.APIError as error:
            ended = "error"
            tally.problems.append(f"{type(error).__name__}: {error}")
        tally.ended[ended] += 1


async def _ask_badly(client: openai.AsyncOpenAI, ask: Ask, draw: random.Random) -> str:
    """Ask for what cannot be; the server is to say so."""
    wrong: list[dict[str, Any]] = [
        {"model": "no-such-model"},
        {"temperature": 9},
        {"messages": []},
        {"max_tokens": 10**6},
        {"extra_body": {"no_such_field": 1}},
    ]
    good = {"model": NAME, "messages": [{"role": "user", "content": ask.query}]}
    try:
        await client.chat.completions.create(**good | draw.choice(wrong))
    except (openai.BadRequestError, openai.NotFoundError):
        return "refused"
    return "error"


async def _store_users(client: openai.AsyncOpenAI, examples: Sequence[Example]) -> list[Ask]:
    """Give the server every other example's history, as a user of its own."""
    asks = []
    for number, (example, length) in enumerate(zip(examples, itertools.cycle(LENGTHS))):
        user = f"user-{number}" if number % 2 == 0 and example.history else None
        if user:
            await add_documents(client, user, example.history[-DOCUMENTS:])
        asks.append(Ask(user, example.query, length))
    return asks


async def _left_over(client: openai.AsyncOpenAI) -> int:
    """Texts that the server still works on, some time after the last client has gone."""
    url = str(client.base_url).removesuffix("/v1/")
    count = -1
    for _ in range(50):
        page = await client.get(f"{url}/metrics", cast_to=str)
        lines = dict(line.rsplit(" ", 1) for line in page.splitlines() if line[0] != "#")
        count = sum(
            int(float(lines[f"flythinker_{what}_texts"])) for what in ("waiting", "working")
        )
        if count == 0:
            break
        await asyncio.sleep(0.2)
    return count


@asynccontextmanager
async def _sampled(process: psutil.Process, memory: list[float]) -> AsyncIterator[None]:
    """Note the process's resident memory in MiB now and then."""

    async def sample() -> None:
        while True:
            memory.append(process.memory_info().rss / 2**20)
            await asyncio.sleep(SAMPLE_SECONDS)

    sampling = asyncio.create_task(sample())
    try:
        yield
    finally:
        sampling.cancel()


def _growth(memory: list[float]) -> float:
    """The last quarter over the second one, by their medians; the first is warm-up."""
    edges = [round(len(memory) * part / 4) for part in range(5)]
    quarters = [memory[a:b] for a, b in pairwise(edges)]
    return median(quarters[3]) / median(quarters[1]) - 1 if all(quarters) else 0.0


def serve_table(figures: dict[str, Any]) -> Table:
    """Both phases side by side."""
    machine, clients = figures["environment"], figures["setting"]["clients"]
    title = f"{machine['machine']}, {machine['threads']} threads"
    table = Table("", "one at a time", f"{clients} clients", title=title)
    phases = (figures["alone"], figures["together"])
    table.add_row("tokens a second", *(f"{one['tokens_per_second']:.1f}" for one in phases))
    for name in ("first_token_ms", "per_token_ms"):
        for cut in ("p50", "p95"):
            cells = (f"{one[name].get(cut, float('nan')):.0f}" for one in phases)
            table.add_row(f"{name.replace('_', ' ')}, {cut}", *cells)
    for how, count in figures["requests"].items():
        table.add_row(how, "", str(count))
    memory = figures["memory_mib"]
    table.add_row("memory, MiB", "", f"{memory['median']:.0f}")
    for name, value in figures["large_user"].items():
        table.add_row(f"large user: {name.replace('_', ' ')}", f"{value:.3g}", "")
    table.add_row("its growth after warm-up", "", f"{memory['growth_after_warm_up']:+.2%}")
    for what in ("persons", "learning"):
        for name, value in figures.get(what, {"spread": {}})["spread"].items():
            cell = f"{value['value']:.2f} [{value['low']:.2f}, {value['high']:.2f}]"
            table.add_row(f"{what}: {name.replace('_', ' ')}", "", cell)
    return table
