"""What Prometheus reads at `/metrics`."""

import time
from collections.abc import AsyncIterator, Iterator
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from flythinker.generation.backends.protocol import Engine, Piece
from flythinker.serving.learning.learner import Learner
from flythinker.serving.storage.store import Store

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)


class Metrics:
    """The metrics of one server; each has a registry of its own."""

    def __init__(self, engine: Engine, store: Store, learner: Learner | None = None) -> None:
        registry = self._registry = CollectorRegistry()
        registry.register(_EngineCollector(engine))
        registry.register(_StoreCollector(store))
        if learner is not None:
            registry.register(_LearnerCollector(learner, store))
        counter = partial(Counter, namespace="flythinker", registry=registry)
        histogram = partial(Histogram, namespace="flythinker", registry=registry)
        self.requests = counter("requests", "Requests answered.", ("route", "method", "status"))
        self.request_seconds = histogram(
            "request_seconds",
            "From the request to the end of its answer.",
            ("route",),
            buckets=(*_SECONDS, 120, 300),
        )
        self.prompt_tokens = counter("prompt_tokens", "Tokens of prompts.")
        self.completion_tokens = counter("completion_tokens", "Tokens written.")
        self._first_token = histogram(
            "time_to_first_token_seconds",
            "From the request, with its time in the queue, to a text's first token.",
            buckets=_SECONDS,
        )
        self._per_token = histogram(
            "time_per_token_seconds",
            "Mean time of a text's tokens after the first.",
            buckets=_TOKEN_SECONDS,
        )

    async def timed(self, pieces: AsyncIterator[Piece], begun: float) -> AsyncIterator[Piece]:
        """Pass pieces on and time them; `begun` is `time.perf_counter()` of the request."""
        first: dict[int, tuple[float, int]] = {}  # by text: when, and how many tokens came at once
        counts: dict[int, int] = {}
        async for piece in pieces:
            now = time.perf_counter()
            counts[piece.index] = counts.get(piece.index, 0) + len(piece.token_ids)
            self.completion_tokens.inc(len(piece.token_ids))
            if piece.index not in first:
                first[piece.index] = now, len(piece.token_ids)
                self._first_token.observe(now - begun)
            if piece.finish_reason is not None:
                since, at_once = first[piece.index]
                if later := counts[piece.index] - at_once:
                    self._per_token.observe((now - since) / later)
            yield piece

    def page(self) -> bytes:
        """The page in Prometheus's text format."""
        return generate_latest(self._registry)


class _EngineCollector(Collector):
    """Reads the engine's own counts when Prometheus asks."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        stats = self._engine.stats()
        rate = stats.accepted / stats.drafted if stats.drafted else 0
        for name, help_text, value in (
            ("waiting_texts", "Texts waiting for a slot.", stats.waiting),
            ("working_texts", "Texts being written.", stats.working),
            ("draft_acceptance_rate", "Share of drafted tokens that proved right.", rate),
        ):
            yield GaugeMetricFamily(f"flythinker_{name}", help_text, value)
        for name, help_text, value in (
            ("drafted_tokens", "Tokens drafted.", stats.drafted),
            ("accepted_tokens", "Drafted tokens that proved right.", stats.accepted),
            ("prefix_hit_tokens", "Tokens of prompts found in the cache.", stats.prefix_hits),
            ("prefix_miss_tokens", "Tokens of prompts read anew.", stats.prefix_misses),
        ):
            yield CounterMetricFamily(f"flythinker_{name}", help_text, value)


class _StoreCollector(Collector):
    """Reads how the database's disk is when Prometheus asks."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def collect(self) -> Iterator[Metric]:
        room = self._store.room()
        yield GaugeMetricFamily(
            "flythinker_database_disk_full", "1: no document can be added.", room.full
        )
        if room.free is not None:
            yield GaugeMetricFamily(
                "flythinker_database_disk_free_bytes", "Room on the database's disk.", room.free
            )


class _LearnerCollector(Collector):
    """Reads how far learning users is when Prometheus asks."""

    def __init__(self, learner: Learner, store: Store) -> None:
        self._learner, self._store = learner, store

    def collect(self) -> Iterator[Metric]:
        for name, help_text, value in (
            ("adapters", "Users of whom something was learned.", self._store.adapter_count()),
            ("users_to_learn", "Users who are learned or wait for it.", self._learner.waiting),
        ):
            yield GaugeMetricFamily(f"flythinker_{name}", help_text, value)
