"""Whether a training's checkpoints and model will find room, asked before its first step."""

import math
from pathlib import Path
from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerState, TrainingArguments
from transformers.trainer_utils import SaveStrategy

from flythinker.disk import require_room
from flythinker.training.config import FlyThinkerTrainingArguments

_TWO_STATES = ("adamw_torch", "adamw_torch_fused")
"""Optimizers that keep two numbers a trained weight, in its dtype; of others none are counted."""


class RoomCheck(TrainerCallback):
    """Refuses a run whose files surely do not fit on the disk, when it starts or goes on.

    Weights and the optimizer's states are counted, of as many checkpoints as will lie there at the
    same time (the newest is written before the oldest goes), and the finished model.

    Attributes:
        checkpoint_bytes, model_bytes: of one checkpoint and of the model folder, at least.

    Raises:
        DiskFull: from the Trainer's `train`, before any step.
    """

    def __init__(self, model: nn.Module, args: FlyThinkerTrainingArguments) -> None:
        """`model`: whole, not yet cut into the shards of several processes."""
        self._output = Path(args.output_dir)
        self._patience = args.early_stopping_patience
        sizes = {name: p.numel() * p.element_size() for name, p in model.named_parameters()}
        trained = sum(sizes[name] for name, p in model.named_parameters() if p.requires_grad)
        with_adapters = hasattr(model, "peft_config")
        # what PEFT adds to the model is merged into it at the end
        added = sum(s for name, s in sizes.items() if "lora_" in name or "original_module" in name)
        self.model_bytes = sum(sizes.values()) - added
        self.checkpoint_bytes = trained if with_adapters else self.model_bytes
        if args.optim in _TWO_STATES and not args.save_only_model:
            self.checkpoint_bytes += 2 * trained

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: Any, **kwargs: Any
    ) -> None:
        """Compare what is still to be written with what is free."""
        there = len(list(self._output.glob("checkpoint-*")))
        last = there + self._saves(args, state)
        most, kept = last, last
        if args.save_total_limit:
            most, kept = min(last, args.save_total_limit + 1), min(last, args.save_total_limit)
        new, new_at_the_end = (number - there for number in (most, kept))
        needed = max(
            new * self.checkpoint_bytes, new_at_the_end * self.checkpoint_bytes + self.model_bytes
        )
        what = (
            f"{most} checkpoint{'s' * (most > 1)} at a time, then the model"
            if most
            else "the model"
        )
        advice = "choose another training.output_dir"
        if most > 2:
            advice += ", or a smaller training.save_total_limit"
        require_room(self._output, needed, what, advice)

    def _saves(self, args: TrainingArguments, state: TrainerState) -> int:
        """How many checkpoints are still to come at least."""
        match args.save_strategy:
            case SaveStrategy.STEPS:
                done = state.global_step // state.save_steps
                saves = math.ceil(state.max_steps / state.save_steps) - done
            case SaveStrategy.EPOCH:
                saves = state.num_train_epochs - int(state.epoch or 0)
            case SaveStrategy.BEST:
                saves = 1
            case _:
                return 0
        if self._patience is not None:
            saves = min(saves, self._patience + 1)
        return max(0, saves)
