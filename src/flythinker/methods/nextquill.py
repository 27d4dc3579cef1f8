"""NextQuill: causal preference modelling (Zhao et al., 2506.02368)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, smooth_l1_loss
from transformers import PreTrainedTokenizerBase

from flythinker.data.batch import Collator, Row, encode
from flythinker.data.example import Example
from flythinker.data.histories import without_histories
from flythinker.data.prompt import PromptConfig
from flythinker.methods.base import Tuned
from flythinker.model_folder import load_model_folder
from flythinker.scoring.losses import load_losses, response_logits, save_losses, token_losses
from flythinker.training.run import Recipe
from flythinker.training.trainer import FlyThinkerTrainer

_BATCH = 8


class QuillRow(Row):
    """A row, the same without the user's past texts, and the preference effect of each token."""

    plain: Row
    effects: list[float]


@dataclass
class NextQuill(Tuned):
    """SFT that learns most from the tokens that the user's past texts explain.

    The preference effect of a token is log p(y_t | h, x) - log p(y_t | x): what the history does
    to its prediction. The untrained Generator's effect on the user's own text gives each token its
    weight, 1 + `strength` × the effect where it helps (in units of the text's mean), scaled to a
    mean of 1; and the trained model's own effect is aligned with it by a smooth L1 loss. Where
    ours differs: the paper measures the model's effect on hidden states and picks preference
    tokens by a threshold; here both sides are log-probabilities, and no token is left out.

    Attributes:
        strength: of the weights; 0 = all equal.
        align: weight of the alignment. With `strength` and `align` 0 it is SFT.
    """

    label: ClassVar[str] = "NextQuill"

    strength: float = 1.0
    align: float = 0.1

    def recipe(self) -> Recipe:
        """Train with weights and alignment; it reads every example with and without history."""
        trainer = partial(QuillTrainer, strength=self.strength, align=self.align)
        return Recipe(encode=self._encode, collator=QuillCollator, trainer=trainer)

    def _encode(
        self, examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, prompt: PromptConfig
    ) -> list[Row]:
        rows = encode(examples, tokenizer, prompt)
        plain = encode(without_histories(examples), tokenizer, prompt)
        effects = self._effects(rows, plain, tokenizer)
        return [
            QuillRow(**row, plain=without, effects=effect.tolist())
            for row, without, effect in zip(rows, plain, effects, strict=True)
        ]

    def _effects(
        self, rows: Sequence[Row], plain: Sequence[Row], tokenizer: PreTrainedTokenizerBase
    ) -> list[NDArray[np.float32]]:
        """The untrained Generator's preference effects, measured once for all seeds."""
        generator = self.config.model.pretrained()
        key = sha256(repr((generator, [row["input_ids"] for row in [*rows, *plain]])).encode())
        file = self.shared / f"effects-{key.hexdigest()[:16]}.npz"
        if not file.exists():
            base = load_model_folder(generator).model
            collator = Collator(tokenizer.pad_token_id)
            read, unread = (
                token_losses(base, some, collator, _BATCH, f"Preference effects, {which} history")
                for some, which in ((rows, "with"), (plain, "without"))
            )
            save_losses(file, [w - h for h, w in zip(read, unread, strict=True)])
        return load_losses(file)


class QuillCollator(Collator):
    """Adds the rows without history (`plain_` before each name) and `effects` [B, T] float32."""

    def __call__(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """Pad rows; the effects are in the order of the labelled tokens, padded with 0."""
        quill = cast(Sequence[QuillRow], rows)
        plain = super().__call__([row["plain"] for row in quill])
        effects = [torch.tensor(row["effects"]) for row in quill]
        return {
            **super().__call__(rows),
            **{f"plain_{name}": values for name, values in plain.items()},
            "effects": nn.utils.rnn.pad_sequence(effects, batch_first=True),
        }


class QuillTrainer(FlyThinkerTrainer):
    """Weighted cross-entropy and alignment; evaluation is plain cross-entropy, as SFT's."""

    def __init__(self, *args: Any, strength: float, align: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.strength, self.align = strength, align

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Nats per labelled token of the whole optimizer step, weighted; see `NextQuill`."""
        effects = inputs["effects"]
        plain = {k.removeprefix("plain_"): inputs[k] for k in inputs if k.startswith("plain_")}
        read = {k: v for k, v in inputs.items() if k != "effects" and not k.startswith("plain_")}
        if not model.training:
            return super().compute_loss(model, read, return_outputs, num_items_in_batch)
        nats = _nats(model, read)
        weighted = [
            preference_weights(effect[: len(row)], self.strength) * row
            for effect, row in zip(effects, nats, strict=True)
        ]
        loss = torch.cat(weighted).sum()
        if self.align:
            aligned = [
                smooth_l1_loss(without - row, effect[: len(row)], reduction="sum")
                for effect, row, without in zip(effects, nats, _nats(model, plain), strict=True)
            ]
            loss = loss + self.align * torch.stack(aligned).sum()
        items = sum(map(len, nats)) if num_items_in_batch is None else num_items_in_batch
        return loss / items


def preference_weights(effects: Tensor, strength: float) -> Tensor:
    """Weights [n] of mean 1 that grow with the effects [n] above 0; all 1 at `strength` 0."""
    helped = effects.clamp(min=0)
    weights = 1 + strength * helped / helped.mean().clamp(min=1e-6)
    return weights / weights.mean()


def _nats(model: nn.Module, batch: dict[str, Tensor]) -> list[Tensor]:
    return [
        cross_entropy(logits.float(), targets, reduction="none")
        for logits, targets in response_logits(model, batch)
    ]
