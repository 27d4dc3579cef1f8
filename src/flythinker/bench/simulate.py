"""A server under load, simulated: a queue, a batch that texts join and leave, a prefix cache.

Steps are `Writer`'s: one token of every text in work, then one prompt of the queue is read. What a
step costs comes from outside, measured or calculated.
"""

import heapq
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True)
class Load:
    """What users ask for.

    Attributes:
        rate: requests a second, of a Poisson process.
        users: how many there are; user k asks in proportion to k to the minus `zipf`.
        profile_tokens: of a user, first in the prompt and the same in each.
        query_tokens, response_tokens: of each request.
    """

    rate: float
    users: int
    zipf: float = 1.0
    profile_tokens: int = 1250
    query_tokens: int = 300
    response_tokens: int = 600


@dataclass(frozen=True)
class Server:
    """What it can hold, and what its work costs.

    Attributes:
        slots: texts in work at the same time.
        cached: prompts in the prefix cache, least recently used ones leave first.
        decode: seconds of a step, by texts in work and tokens they stand at, all together.
        prefill: seconds to read a prompt, by tokens that are new and tokens found in the cache.
        cached_by_user: one prompt is kept of each user (blocks that are shared), not each prompt.
    """

    slots: int
    cached: int
    decode: Callable[[int, int], float]
    prefill: Callable[[int, int], float]
    cached_by_user: bool = True


class Request(NamedTuple):
    """Who asks, and when, in seconds."""

    time: float
    user: int


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        tokens_per_second: of responses, from the first request to the end of the last.
        ttft_p50, ttft_p95: seconds from a request to its first token.
        waiting, working: texts in the queue until the step that reads them, and in work; means
            over time.
        hit_rate: prompt tokens found in the cache, of all.
        busy: share of the time in which there was work.
    """

    tokens_per_second: float
    ttft_p50: float
    ttft_p95: float
    waiting: float
    working: float
    hit_rate: float
    busy: float


def poisson_requests(load: Load, seconds: float, seed: int = 0) -> list[Request]:
    """The requests of some time, at the load's rate and by its users."""
    draw = np.random.default_rng(seed)
    n = draw.poisson(load.rate * seconds)
    weights = np.arange(1, load.users + 1, dtype=float) ** -load.zipf
    users = draw.choice(load.users, size=n, p=weights / weights.sum())
    times = np.sort(draw.uniform(0, seconds, size=n))
    return [Request(float(time), int(user)) for time, user in zip(times, users, strict=True)]


def simulate(
    server: Server, load: Load, requests: Sequence[Request], before: Sequence[Request] = ()
) -> Outcome:
    """Serve the requests to the end; those `before` have filled the prefix cache."""
    arriving, queue = deque(requests), deque[Request]()
    cache = _PromptCache(server.cached, server.cached_by_user)
    for request in before:
        cache.find_and_keep(request.user)
    prompt = load.profile_tokens + load.query_tokens
    ends: list[int] = []  # the steps after which texts in work end
    now = idle = waited = worked = 0.0
    step = context = hits = 0
    ttft = []
    while arriving or queue or ends:
        if not queue and not ends:
            idle += max(0.0, arriving[0].time - now)
            now = max(now, arriving[0].time)
        while arriving and arriving[0].time <= now:
            queue.append(arriving.popleft())
        took = server.decode(len(ends), context) if ends else 0.0
        step += 1
        context += len(ends)
        worked += took * len(ends)
        while ends and ends[0] <= step:
            heapq.heappop(ends)
            context -= prompt + load.response_tokens
        if queue and len(ends) < server.slots:
            request = queue.popleft()
            found = load.profile_tokens if cache.find_and_keep(request.user) else 0
            reading = server.prefill(prompt - found, found)
            waited += now - request.time
            worked += reading * len(ends)
            took += reading
            hits += found
            ttft.append(now + took - request.time)
            if load.response_tokens > 1:
                heapq.heappush(ends, step + load.response_tokens - 1)
                context += prompt + 1
        now += took
    begun = requests[0].time
    span = now - begun
    return Outcome(
        tokens_per_second=len(requests) * load.response_tokens / span,
        ttft_p50=float(np.quantile(ttft, 0.5)),
        ttft_p95=float(np.quantile(ttft, 0.95)),
        waiting=waited / span,
        working=worked / span,
        hit_rate=hits / (prompt * len(requests)),
        busy=1 - (idle - begun) / span,
    )


class _PromptCache:
    """Whose prompts are kept: of each user one, or all of them, each in its own place."""

    def __init__(self, room: int, by_user: bool) -> None:
        self.room, self.by_user = room, by_user
        self.kept: OrderedDict[tuple[int, int], None] = OrderedDict()
        self.serial = 0

    def find_and_keep(self, user: int) -> bool:
        """Whether a prompt of the user is here; the one now read is kept."""
        if self.by_user:
            found = (user, 0) if (user, 0) in self.kept else None
        else:
            found = next((key for key in self.kept if key[0] == user), None)
            self.serial += 1
        if found is not None:
            self.kept.move_to_end(found)
        self.kept[user, self.serial] = None
        self.kept.move_to_end((user, self.serial))
        while len(self.kept) > self.room:
            self.kept.popitem(last=False)
        return found is not None
