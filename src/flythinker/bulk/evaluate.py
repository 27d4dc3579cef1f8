"""`flythinker evaluate --ray`: the held-out loss of a model, by many actors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from flythinker.bulk.pool import Pool, shards_of
from flythinker.data.example import Example
from flythinker.evaluation.compare import MethodResult
from flythinker.evaluation.evaluate import Score
from flythinker.progress import track


@dataclass(frozen=True)
class BulkMeasure:
    """A `Measure`: the actors of a pool load the model, and get `shard_rows` examples at a time."""

    pool: Pool
    shard_rows: int = 64

    def __call__(self, load: Callable[[], Score], examples: Sequence[Example]) -> MethodResult:
        """What `load()(examples)` returns."""
        shards = shards_of(examples, self.shard_rows)
        results = self.pool.map(load, shards)
        parts = dict(track(results, "Held-out loss", len(shards), unit="/shard"))
        losses = [nats for number in shards for nats in parts[number].token_losses]
        characters = [count for number in shards for count in parts[number].characters]
        return replace(parts[0], token_losses=losses, characters=characters)
