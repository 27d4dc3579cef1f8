"""Actors that hold a model each, and shards of examples that stream through them (Ray Data)."""

import logging
import os
import pickle
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from flythinker.errors import FlyThinkerError

T = TypeVar("T")
Work = Callable[[Sequence[Any]], Any]


@dataclass(frozen=True)
class Pool:
    """How many actors, and where.

    Attributes:
        address: of a running cluster (`ray://host:10001`, `auto`, …); `None` starts Ray on this
            machine, for this run alone.
        actors: each loads the model.
        cpus: cores, and torch threads, of each.
        gpus: of each, if the cluster has any.
    """

    address: str | None = None
    actors: int = 1
    cpus: int = 1
    gpus: float = 1

    def map(
        self, make: Callable[[], Work], shards: Mapping[int, Sequence[Any]]
    ) -> Iterator[tuple[int, Any]]:
        """Call `make()` once in each actor and what it returns once for each shard.

        Yields the number of a shard and its result, each once, as they come. An actor that dies is
        started again, with the shard it had.

        Args:
            make: loads the model; it is pickled, and imported by the actors.
            shards: by number; each is pickled to one actor.

        Raises:
            FlyThinkerError: Ray is not installed or not reached, or an actor raised.
        """
        if not shards:
            return
        with self._connected() as ray:
            items = [
                {"number": number, "shard": pickle.dumps(list(shard))}
                for number, shard in shards.items()
            ]
            gpus = self.gpus if ray.cluster_resources().get("GPU") else 0
            results = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
                _Actor,
                fn_constructor_args=(make, self.cpus),
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(size=min(self.actors, len(items))),
                num_cpus=self.cpus,
                num_gpus=gpus or None,
            )
            for row in results.iter_rows():
                result = pickle.loads(row["result"])
                if isinstance(result, _Failure):
                    raise FlyThinkerError(f"a Ray actor failed: {result.reason}")
                yield int(row["number"]), result

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        # Ray reports home, and says at length what goes well, unless told otherwise
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        try:
            import ray
            import ray.data
        except ModuleNotFoundError:
            raise FlyThinkerError(
                "Ray is not installed: run `pip install '.[ray]'` in FlyThinker's checkout"
            ) from None
        embedded = self.address is None and not ray.is_initialized()
        settings: dict[str, Any] = {"ignore_reinit_error": True, "log_to_driver": False}
        if embedded:
            settings |= {"num_cpus": self.actors * self.cpus, "object_store_memory": 2**29}
            settings["include_dashboard"] = False
        try:
            _reach(self.address)
            ray.init(self.address, logging_level=logging.ERROR, **settings)
        except (OSError, ValueError) as error:
            raise FlyThinkerError(f"no Ray cluster at {self.address}: {error}") from error
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        try:
            yield ray
        finally:
            if embedded:
                ray.shutdown()


@dataclass(frozen=True)
class _Failure:
    """What an actor raised: returned, since Ray would try again what it sees raised."""

    reason: str


class _Actor:
    """What runs on a worker: the work of one shard after the other."""

    def __init__(self, make: Callable[[], Work], threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self.make = make

    @cached_property
    def work(self) -> Work:
        return self.make()

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        results = [pickle.dumps(self.result(pickle.loads(shard))) for shard in batch["shard"]]
        return {"number": list(batch["number"]), "result": results}

    def result(self, shard: Sequence[Any]) -> Any:
        try:
            return self.work(shard)
        except Exception as error:
            return _Failure(" ".join(str(error).split()) or type(error).__name__)


def _reach(address: str | None) -> None:
    """Raise `OSError` where nobody listens: Ray itself would try again for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def shards_of(examples: Sequence[T], rows: int) -> dict[int, Sequence[T]]:
    """The examples in order, `rows` in each shard."""
    return {n // rows: examples[n : n + rows] for n in range(0, len(examples), rows)}
