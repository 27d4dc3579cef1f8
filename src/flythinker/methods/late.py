"""A control: thoughts on another text (not in the paper).

If another text's thoughts help as much, what helps is not what the Reasoner thinks: it is that
vectors are added, or that a second model learns beside the first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

from flythinker.data.batch import predicting_columns
from flythinker.data.prompt import Prompt
from flythinker.errors import FlyThinkerError
from flythinker.methods.flythinker import FlyThinker
from flythinker.model.loss import chunked_cross_entropy, kept, next_token_targets
from flythinker.training.run import Recipe
from flythinker.training.trainer import FlyThinkerTrainer


@dataclass
class Late(FlyThinker):
    """FlyThinker whose Generator gets, at each position, the thought of the next text in the batch.

    The Reasoner and its own loss are FlyThinker's. The thoughts are strangers' in training and when
    losses are measured; batches hold texts of like length, so nearly all positions have one.
    """

    label: ClassVar[str] = "FlyThinker, thoughts on another text"
    writes: ClassVar[bool] = False  # a text would depend on what is written beside it

    def recipe(self) -> Recipe:
        """FlyThinker's training with thoughts that change places.

        Raises:
            FlyThinkerError: the Reasoner has a prompt of its own.
        """
        if self.config.prompt.reasoner_k is not None:
            raise FlyThinkerError("thoughts on another text do not go with prompt.reasoner_k")
        return Recipe(trainer=LateTrainer)

    def losses(self, prompts: Sequence[Prompt], batch_size: int) -> list[NDArray[np.float32]]:
        """The losses as every method measures them; no batch may hold a single text."""
        exchange = Exchange(self.personal.model)
        try:
            return super().losses(prompts, batch_size)
        finally:
            exchange.end()


class Exchange:
    """Makes each text of a batch get the Reasoner's states of the next one, the last the first's.

    Attributes:
        states: [batch, seq, d_R] of the last forward pass, before they changed places.
    """

    states: Tensor

    def __init__(self, model: PreTrainedModel) -> None:
        self._hook = model.reasoner.register_forward_hook(self._exchange)

    def end(self) -> None:
        """Give every text its own states again."""
        self._hook.remove()

    def _exchange(self, reasoner: nn.Module, inputs: Any, output: Any) -> Any:
        self.states = output.last_hidden_state
        if len(self.states) < 2:
            raise FlyThinkerError(
                "thoughts on another text need two texts in a batch: choose a batch size that "
                "leaves none alone"
            )
        output.last_hidden_state = self.states.roll(-1, dims=0)
        return output


class LateTrainer(FlyThinkerTrainer):
    """Trains a model whose texts exchange thoughts; the Reasoner's own loss is on its own text."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.exchange = Exchange(self.model)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """FlyThinker's loss, with the states that the model has given away."""
        if not model.training:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        labels = inputs["labels"]
        loss, outputs = super().compute_loss(
            model, {**inputs, "draft_loss_weight": 0.0}, True, num_items_in_batch
        )
        columns = predicting_columns(labels)
        draft_loss = chunked_cross_entropy(
            kept(self.exchange.states, columns),
            self.accelerator.unwrap_model(model).reasoner.get_input_embeddings().weight,
            next_token_targets(labels, columns),
            num_items_in_batch,
        )
        loss = loss + self.args.draft_loss_weight * draft_loss
        return (loss, outputs) if return_outputs else loss
