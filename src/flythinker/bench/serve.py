"""A server under load: many clients at once against one request at a time, and what goes wrong.

The server is a process of its own, asked over HTTP by the official client, all on this machine.
"""

import asyncio
import itertools
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import openai
import psutil
from rich.table import Table

from flythinker.bench.rounds import describe_machine
from flythinker.data.example import Example, read_examples, sample_examples
from flythinker.errors import FlyThinkerError

NAME = "bench"
LENGTHS = (16, 32, 48, 96)  # tokens written
STUCK_SECONDS = 120  # without a word
SAMPLE_SECONDS = 1.0
FLAT = 0.03  # growth of memory that is none


@dataclass(frozen=True)
class ServeSetting:
    """What is measured: the model, how many clients for how long, and what they do."""

    model: str
    data: Path
    clients: int = 32
    seconds: float = 120
    requests: int = 12
    leaving: float = 0.10
    bad: float = 0.05
    slots: int = 8
    prefix_mib: int = 256
    seed: int = 0


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


def bench_serve(setting: ServeSetting) -> dict[str, Any]:
    """Ask one request at a time, then with many clients; greedily, each text against the first.

    Returns figures of both phases, what became of the requests, the server's memory, and under
    `failures` in words what must not happen: server errors, stuck requests, texts that differ from
    those written alone, requests left over in the server, memory that grows after warm-up.
    """
    examples = sample_examples(read_examples(setting.data), setting.requests)
    with _server(setting) as (url, process):
        return asyncio.run(_bench(setting, examples, url, process))


async def _bench(
    setting: ServeSetting, examples: Sequence[Example], url: str, process: psutil.Process
) -> dict[str, Any]:
    async with openai.AsyncOpenAI(
        base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=STUCK_SECONDS
    ) as client:
        asks = await _store_users(client, examples)
        expected = [(await _answer(client, ask, Tally())) for ask in asks]  # also warms up
        alone = Tally()
        begun = time.perf_counter()
        for ask in asks:
            await _answer(client, ask, alone)
        alone_seconds = time.perf_counter() - begun
        together = Tally()
        memory: list[float] = []
        begun = time.perf_counter()
        async with _sampled(process, memory):
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
    growth = _growth(memory)
    figures = {
        "alone": alone.figures(alone_seconds),
        "together": together.figures(together_seconds),
        "throughput_gain": (together.tokens / together_seconds) / (alone.tokens / alone_seconds),
        "requests": dict(together.ended),
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
                await _answer(client, ask, tally, leave_after=draw.randrange(1, 8))
                ended = "left"
            else:
                same = await _answer(client, ask, tally) == expected
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


async def _answer(
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
            documents = [
                {"text": one.text, "title": one.title, "date": one.date} for one in example.history
            ]
            await client.post(
                f"/users/{user}/documents", body={"documents": documents[-20:]}, cast_to=object
            )
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


@contextmanager
def _server(setting: ServeSetting) -> Iterator[tuple[str, psutil.Process]]:
    """`flythinker serve` on a free port, in float32: there texts do not depend on their company."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        options = {
            "model": setting.model,
            "name": NAME,
            "dtype": "float32",
            "slots": setting.slots,
            "max-queue": setting.clients,
            "prefix-mib": setting.prefix_mib,
            "requests-per-minute": 0,
            "database": f"sqlite:///{folder}/bench.db",
            "port": port,
        }
        arguments = [f"--{name}={value}" for name, value in options.items()]
        command = [sys.executable, "-c", "from flythinker.cli.main import main; main()", "serve"]
        log = Path(folder, "log")
        with log.open("wb") as logs:
            server = subprocess.Popen([*command, *arguments], stderr=logs)
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for(url, server, log)
            yield url, psutil.Process(server.pid)
        finally:
            server.terminate()
            server.wait()


def _wait_for(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    while True:
        try:
            client.models.list()
            return
        except openai.APIConnectionError:
            if server.poll() is not None:
                raise FlyThinkerError(f"the server did not start: {log.read_text()}") from None
            time.sleep(0.1)


def _percentiles(seconds: list[float]) -> dict[str, float]:
    cuts = quantiles(seconds, n=20, method="inclusive") if len(seconds) > 1 else seconds * 19
    return {"p50": 1000 * median(seconds), "p95": 1000 * cuts[18]} if seconds else {}


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
    table.add_row("its growth after warm-up", "", f"{memory['growth_after_warm_up']:+.2%}")
    return table
