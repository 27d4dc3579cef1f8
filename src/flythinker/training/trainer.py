"""`FlyThinkerTrainer`: transformers' Trainer for a Generator and a Reasoner trained jointly."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainerState,
)
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.trainer_utils import TrainOutput

from flythinker.data.batch import IGNORED, Row, predicting_columns
from flythinker.data.rows import Rows
from flythinker.disk import named_when_full
from flythinker.errors import FlyThinkerError
from flythinker.progress import in_terminal
from flythinker.training.config import FlyThinkerTrainingArguments
from flythinker.training.liger import use_liger_loss
from flythinker.training.progress import ProgressLines


class EpochSeededSampler(LengthGroupedSampler):
    """Groups rows of similar length, in an order that depends on seed and epoch only.

    transformers' own draws from the global generator, so a resumed run would see another order.
    With `whole_batches` an epoch ends with its last whole batch, and the rows left over, others
    each epoch, are left out.
    """

    def __init__(
        self, batch_size: int, lengths: list[int], seed: int, whole_batches: bool = False
    ) -> None:
        super().__init__(batch_size, lengths=lengths, generator=torch.Generator())
        self.seed = seed
        self.epoch = 0
        self.rows = len(lengths) - (len(lengths) % batch_size if whole_batches else 0)

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate's data loader at the start of each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        self.generator.manual_seed(self.seed + self.epoch)
        return islice(super().__iter__(), self.rows)

    def __len__(self) -> int:
        return self.rows


class _EpochOrder(TrainerCallback):
    """Tells the sampler its epoch, also in a run that goes on in the middle of one.

    There, in several processes, the sampler lies deeper than accelerate's `set_epoch` reaches
    (1.15), and rows would come in the first epoch's order.
    """

    def on_epoch_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        kwargs["train_dataloader"].set_epoch(int(state.epoch or 0))


class FlyThinkerTrainer(Trainer):
    """One loss, next-token cross-entropy on the response, for both parts at once (paper, §4).

    Logits are computed only in columns that predict a label of some row. Without a Reasoner
    (λ = 0) it is plain SFT of the Generator, through the same code. `eval_loss` is in nats per
    token over all labelled tokens of the evaluation set, whatever the batches and processes.
    """

    args: FlyThinkerTrainingArguments

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        freeze(self.model, self.args)
        if self.args.use_liger_kernel:
            use_liger_loss(self.model, self.args.device)
        self.add_callback(_EpochOrder())
        self._lines = ProgressLines()
        if not in_terminal():
            # not by `args.disable_tqdm`, which is a setting of the run and noted with it
            self.remove_callback(ProgressCallback)
            self.remove_callback(PrinterCallback)
            self.add_callback(self._lines)
        if self.args.early_stopping_patience is not None:
            self.add_callback(EarlyStoppingCallback(self.args.early_stopping_patience))

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:
        """As transformers'."""
        try:
            return super().train(*args, **kwargs)
        finally:
            self._lines.stop()

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW (or `args.optim`) with one learning rate a part; no decay of norms and biases."""
        model = self.model if model is None else model
        rates = self.args.learning_rates()
        decayed = set(self.get_decay_parameter_names(model))
        groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                groups.setdefault((part_of(name), name in decayed), []).append(parameter)
        optimizer_class, arguments = self.get_optimizer_cls_and_kwargs(self.args, model)
        self.optimizer = optimizer_class(
            [
                {
                    "params": parameters,
                    "lr": rates[part],
                    "weight_decay": self.args.weight_decay if decay else 0.0,
                }
                for (part, decay), parameters in groups.items()
            ],
            **arguments,
        )
        return self.optimizer

    def fusion_weight(self) -> float | Tensor:
        """λ at the current step, ramped from 0 over `fusion_warmup_steps`."""
        ramp = self.args.fusion_warmup_steps
        progress = min(1.0, (self.state.global_step + 1) / ramp) if ramp else 1.0
        return self.model.config.fusion_weight * progress

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The loss, with logits only where some row has a label, at the current λ."""
        inputs.pop("skip_logits", None)  # transformers' word to models that Liger has patched
        inputs = {
            **inputs,
            "fusion_weight": self.fusion_weight(),
            "logits_to_keep": predicting_columns(inputs["labels"]),
        }
        if model.training:
            inputs["loss_only"] = not return_outputs
            inputs.setdefault("draft_loss_weight", self.args.draft_loss_weight)
        else:
            # The Trainer averages batch losses by rows; with this divisor it gets nats per token.
            # It goes straight to the model: the Trainer would multiply by the number of processes.
            inputs["num_items_in_batch"] = self._labels_per_row() * len(inputs["labels"])
            num_items_in_batch = None
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:
        """Each process gets as many batches of one size; rows without labels fill the last ones.

        accelerate would fill them with rows that count, and those would count twice.
        """
        rows = self.eval_dataset if eval_dataset is None else eval_dataset
        fillers = self._fillers(rows)
        return super().get_eval_dataloader([*rows, *fillers] if fillers else rows)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        with named_when_full(folder):
            super()._save_checkpoint(*args, **kwargs)

    def _fillers(self, rows: Sequence[Row]) -> list[Row]:
        if self.args.world_size == 1:
            return []
        missing = -len(rows) % (self.args.eval_batch_size * self.args.world_size)
        shortest = min(rows, key=lambda row: row["length"])
        return [{**shortest, "labels": [IGNORED] * len(shortest["labels"])}] * missing

    def _labels_per_row(self) -> float:
        rows = self.eval_dataset
        labels = sum(len(row["labels"]) - row["prompt_length"] for row in rows)
        return labels / (len(rows) + len(self._fillers(rows)))

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler | None:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps
        batch *= self.args.world_size
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        whole_batches = self.args.global_batch_size is not None
        if whole_batches and len(dataset) < batch:
            raise FlyThinkerError(
                f"training.global_batch_size is {batch}, but there are {len(dataset)} examples"
            )
        # the Generator's row alone: whatever the Reasoner reads, the order of the data is the same
        if isinstance(dataset, Rows):
            lengths = dataset.lengths()
        else:
            lengths = [len(row["input_ids"]) for row in dataset]
        return EpochSeededSampler(batch, lengths, seed, whole_batches)


def freeze(model: nn.Module, args: FlyThinkerTrainingArguments) -> None:
    """Leave the parts as they are that `args` say."""
    frozen = {"generator": args.freeze_generator, "reasoner": args.freeze_reasoner}
    for name, parameter in model.named_parameters():
        if frozen.get(part_of(name)):
            parameter.requires_grad_(False)


def checkpoint_activations(model: Any) -> None:
    """What the Trainer does of itself with `gradient_checkpointing`, in every transformers."""
    enable = getattr(model, "activation_checkpointing_enable", None)
    (enable or model.gradient_checkpointing_enable)({"use_reentrant": False})


def part_of(parameter_name: str) -> str:
    """Which part a parameter belongs to: "generator", "reasoner" or "projection"."""
    # PEFT puts prefixes before our names
    for part in ("generator", "reasoner", "projection"):
        if f"{part}." in parameter_name:
            return part
    raise ValueError(f"{parameter_name} belongs to no part")
