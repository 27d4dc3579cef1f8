"""`flythinker evaluate --ray`: the held-out loss of a model, by many actors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from rich.console import Console
from rich.progress import track

from flythinker.bulk.pool import Pool, shards_of
from flythinker.data.example import Example
from flythinker.data.prompt import PromptConfig
from flythinker.evaluation.compare import MethodResult
from flythinker.evaluation.evaluate import describe_model, examples_losses
from flythinker.model_folder import load_model_folder

Score = Callable[[Sequence[Example]], MethodResult]


@dataclass(frozen=True)
class BulkMeasure:
    """`measure_model` by the actors of a pool, `shard_rows` examples at a time."""

    pool: Pool
    shard_rows: int = 64

    def __call__(
        self,
        name: str,
        folder: str,
        base_prompt: PromptConfig | None,
        examples: Sequence[Example],
        batch_size: int,
    ) -> MethodResult:
        """As `measure_model`; `folder` is a name that every worker of the cluster can load."""
        shards = shards_of(examples, self.shard_rows)
        results = self.pool.map(partial(_scorer, name, folder, base_prompt, batch_size), shards)
        title = f"Held-out loss of {name}"
        parts = dict(track(results, title, len(shards), console=Console(stderr=True)))
        losses = [nats for number in shards for nats in parts[number].token_losses]
        return replace(parts[0], token_losses=losses)


def _scorer(name: str, folder: str, base_prompt: PromptConfig | None, batch_size: int) -> Score:
    """Load the model in an actor; returns what measures one shard."""
    personal = load_model_folder(folder, base_prompt)
    settings, training = describe_model(personal), personal.training.get("log_history", [])

    def score(shard: Sequence[Example]) -> MethodResult:
        losses = examples_losses(personal, shard, batch_size, f"Held-out loss of {name}")
        return MethodResult(name, settings, losses, training=training)

    return score
