"""FlyThinker whose λ is learned (not in the paper, where it is chosen)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, TrainerCallback

from flythinker.errors import FlyThinkerError
from flythinker.methods.flythinker import FlyThinker
from flythinker.training.run import Recipe
from flythinker.training.trainer import FlyThinkerTrainer

_FACTOR = "fusion_factor"  # the parameter's name in the model while it trains


@dataclass
class Learned(FlyThinker):
    """FlyThinker that learns what `model.fusion_weight` is multiplied with, from 1.

    The finished model has the product in its config and is an ordinary one.
    """

    label: ClassVar[str] = "FlyThinker, λ learned"

    def recipe(self) -> Recipe:
        """FlyThinker's training with one more parameter.

        Raises:
            FlyThinkerError: with adapters, which are merged into a model without it.
        """
        if self.config.lora is not None:
            raise FlyThinkerError("λ is learned in full training only: leave out the section lora")
        return Recipe(trainer=LearnedTrainer)


class LearnedTrainer(FlyThinkerTrainer):
    """Trains the factor of λ as a parameter of the model, so that checkpoints hold it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        one = torch.ones((), device=self.model.device)
        self.model.register_parameter(_FACTOR, nn.Parameter(one))
        self.add_callback(_Fold())

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """As ever, and the factor with the projection's learning rate, not pulled to zero."""
        factor = getattr(self.model, _FACTOR).requires_grad_(False)
        optimizer = super().create_optimizer(model)
        rate = self.args.learning_rates()["projection"]
        group = {"params": [factor.requires_grad_(True)], "lr": rate, "weight_decay": 0.0}
        optimizer.add_param_group(group)
        return optimizer

    def fusion_weight(self) -> Tensor:
        """λ as it is now, a scalar."""
        return super().fusion_weight() * getattr(self.model, _FACTOR).clamp_min(0)


class _Fold(TrainerCallback):
    """Notes λ in the log and, at the end, puts it into the config."""

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        model = kwargs["model"]
        if hasattr(model, _FACTOR):
            state.log_history[-1]["fusion_weight"] = _learned(model)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        model = kwargs["model"]
        model.config.fusion_weight = _learned(model)
        delattr(model, _FACTOR)


def _learned(model: PreTrainedModel) -> float:
    return model.config.fusion_weight * max(0.0, getattr(model, _FACTOR).item())
