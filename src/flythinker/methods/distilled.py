"""Thoughts distilled from a long history (not in the paper).

Can thoughts carry what a long history says? The teacher is the Generator itself, reading the whole
history; the student is the same Generator, frozen, reading a short one, with thoughts of a Reasoner
that reads the whole. Only the Reasoner and the projection learn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from flythinker.data.batch import IGNORED, Row, encode, predicting_columns
from flythinker.data.example import Example
from flythinker.data.histories import swap_histories
from flythinker.data.prompt import PromptConfig
from flythinker.errors import FlyThinkerError
from flythinker.methods.flythinker import FlyThinker
from flythinker.model.loss import next_token_targets
from flythinker.training.config import FlyThinkerTrainingArguments
from flythinker.training.run import Recipe
from flythinker.training.trainer import FlyThinkerTrainer


@dataclass
class Distilled(FlyThinker):
    """A Reasoner that learns to say what the Generator would have read in the long history.

    `prompt.k` is the short history, `prompt.reasoner_k` the whole one.

    Attributes:
        swapped: train with another author's history in the teacher's and the Reasoner's place: what
            that brings is not the person's.
    """

    label: ClassVar[str] = "FlyThinker, distilled"

    swapped: bool = False

    def arguments(self) -> FlyThinkerTrainingArguments:
        """The comparison's, with the Generator left as it is."""
        arguments = super().arguments()
        arguments.freeze_generator = True
        return arguments

    def recipe(self) -> Recipe:
        """FlyThinker's training towards the teacher.

        Raises:
            FlyThinkerError: the Reasoner has no prompt of its own.
        """
        if self.config.prompt.reasoner_k is None:
            raise FlyThinkerError("set prompt.reasoner_k: how many texts the Reasoner reads")
        return Recipe(encode=_with_anothers if self.swapped else encode, trainer=DistilledTrainer)


def _with_anothers(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, config: PromptConfig
) -> list[Row]:
    """`encode`, but the Reasoner's prompt shows another author's history."""
    rows = encode(examples, tokenizer, config)
    anothers = encode(swap_histories(examples), tokenizer, config)
    return [
        {**row, "reasoner_ids": other["reasoner_ids"]}
        for row, other in zip(rows, anothers, strict=True)
    ]


class DistilledTrainer(FlyThinkerTrainer):
    """Learns, and is judged by, the divergence from the teacher."""

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """KL(teacher ‖ student) of each response token, in nats, over all of them."""
        inputs = {name: value for name, value in inputs.items() if name != "skip_logits"}
        labels = inputs.pop("labels")
        columns = predicting_columns(labels)
        outputs = model(**inputs, logits_to_keep=columns, fusion_weight=self.fusion_weight())
        student = outputs.logits[next_token_targets(labels, columns) != IGNORED]
        teacher = self._teacher(labels, **inputs)
        divergence = nn.functional.kl_div(
            student.float().log_softmax(-1), teacher, reduction="sum", log_target=True
        )
        if not model.training:
            loss = divergence / (self._labels_per_row() * len(labels))
        else:
            loss = divergence / (len(teacher) if num_items_in_batch is None else num_items_in_batch)
        return (loss, outputs) if return_outputs else loss

    @torch.no_grad()
    def _teacher(
        self,
        labels: Tensor,
        reasoner_input_ids: Tensor,
        reasoner_attention_mask: Tensor,
        **_: Any,
    ) -> Tensor:
        """The Generator's log-probabilities where it has read what the Reasoner reads.

        [n, vocab], one row for each token of the responses, text after text.
        """
        # rows are padded on the right, and a response ends both the short row and the long one
        ends = reasoner_attention_mask.sum(-1, keepdim=True)
        begins = ends - (labels != IGNORED).sum(-1, keepdim=True)
        places = torch.arange(reasoner_input_ids.shape[1], device=labels.device)
        predicting = (places >= begins - 1) & (places < ends - 1)
        logits = (
            self.accelerator.unwrap_model(self.model)
            .generator(
                input_ids=reasoner_input_ids,
                attention_mask=reasoner_attention_mask,
                logits_to_keep=(columns := predicting.any(0).nonzero().flatten()),
            )
            .logits
        )
        return logits[predicting[:, columns]].float().log_softmax(-1)
