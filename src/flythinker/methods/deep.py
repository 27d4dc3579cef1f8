"""A control: the Reasoner's auxiliary loss without a Reasoner (not in the paper).

FlyThinker's Reasoner may learn a next-token loss of its own (`draft_loss_weight`). Here one deep
Generator learns the same loss at its middle, as early-exit training does (LayerSkip, 2404.16710):
is it the second model that helps, or the loss?
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from flythinker.data.batch import predicting_columns
from flythinker.methods.base import Tuned
from flythinker.model.loss import chunked_cross_entropy, kept, next_token_targets
from flythinker.training.run import Recipe
from flythinker.training.trainer import FlyThinkerTrainer


@dataclass
class Deep(Tuned):
    """SFT with an auxiliary next-token loss at the Generator's middle layer.

    Its weight is `training.draft_loss_weight`; the final norm and the head serve both ends, so that
    the trained model is an ordinary one.
    """

    label: ClassVar[str] = "SFT, auxiliary loss at its middle"

    def recipe(self) -> Recipe:
        """SFT's training with the second loss."""
        return Recipe(trainer=DeepTrainer)


class DeepTrainer(FlyThinkerTrainer):
    """Adds the loss of the middle layer's state, through the final norm and the head."""

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The usual loss; in training, and the auxiliary one."""
        if not model.training:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        loss, outputs = super().compute_loss(
            model, {**inputs, "output_hidden_states": True}, True, num_items_in_batch
        )
        loss = loss + self.args.draft_loss_weight * middle_loss(
            self.accelerator.unwrap_model(model).generator,
            outputs.hidden_states,
            inputs["labels"],
            num_items_in_batch,
        )
        return (loss, outputs) if return_outputs else loss


def middle_loss(
    generator: Any,
    hidden_states: Sequence[Tensor],
    labels: Tensor,
    num_items: Tensor | int | None,
) -> Tensor:
    """Next-token loss of the state after half the layers, a scalar.

    Args:
        generator: a causal LM whose backbone ends with `norm`, as Llama's does.
        hidden_states: [batch, seq, d] of the embeddings and after each layer.
        labels: int64 [batch, seq], -100 = not learned.
        num_items: labelled tokens of the whole optimizer step; default: of this batch.
    """
    columns = predicting_columns(labels)
    middle = hidden_states[len(hidden_states) // 2]
    states = generator.base_model.norm(kept(middle, columns))
    head = generator.get_output_embeddings().weight
    return chunked_cross_entropy(states, head, next_token_targets(labels, columns), num_items)
