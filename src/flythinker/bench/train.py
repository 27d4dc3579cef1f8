"""What training costs: FlyThinker's step against SFT's and against the released recipe."""

import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.flop_counter import FlopCounterMode

from flythinker.bench.rounds import alternate, describe_machine, ratio
from flythinker.data.batch import Row
from flythinker.memory import peak_gigabytes
from flythinker.training.config import RunConfig
from flythinker.training.run import build_trainer

RELEASED_TOKENS = 2550
"""Every row of the released code is padded to this length (paper: 1250 + 300 + 1000)."""
BATCH = 4
"""Rows of a batch where ways to put rows together are compared."""

Batch = dict[str, Any]


def bench_train(config: RunConfig, rounds: int = 5) -> dict[str, Any]:
    """Measure optimizer steps over the same rows, in alternating rounds of one process.

    Returns figures by name; `Ratio`s: `step_ratio` (FlyThinker's step over SFT's, same rows),
    `throughput_vs_released` (tokens of real text a second, ours over every row padded to
    `RELEASED_TOKENS`, logits everywhere, one row a step), `grouped_vs_padded` and
    `packed_vs_padded` (tokens a second with `BATCH` rows a step: of like length, or in one row
    without attention across, over padded as they come). Numbers: `step_ratio_floor` (FLOPs of the
    first two's steps), `memory_vs_released` (peak memory of one step in a process of its own).

    Raises:
        FlyThinkerError: see `build_trainer`.
    """
    both, alone = Stepper(config), Stepper(without_reasoner(config))
    rows: list[Row] = list(both.trainer.train_dataset)
    some = rows[: rounds + 1]
    ours, sft, released = (iter(some) for _ in range(3))
    by_length = sorted(rows, key=lambda row: row["length"])
    spread = random.Random(0).sample(batches(by_length), rounds + 1)
    padded, grouped, packed = iter(batches(rows)), iter(spread), iter(batches(rows))
    seconds = alternate(
        {
            "sft": lambda: alone.seconds(alone.padded([next(sft)])),
            "flythinker": lambda: both.seconds(both.padded([next(ours)])),
            "released": lambda: both.seconds_as_released(next(released)),
            "padded": lambda: both.seconds_a_token(next(padded), both.padded),
            "grouped": lambda: both.seconds_a_token(next(grouped), both.padded),
            "packed": lambda: both.seconds_a_token(next(packed), packed_batch),
        },
        rounds,
    )
    peaks = {name: _peak_gigabytes_apart(config, name == "released") for name in _MEMORY}
    return {
        "step_ratio": ratio(seconds["flythinker"], seconds["sft"]),
        "step_ratio_floor": both.flops(rows[0]) / alone.flops(rows[0]),
        "throughput_vs_released": ratio(seconds["released"], seconds["flythinker"]),
        "memory_vs_released": peaks["flythinker"] / peaks["released"],
        "grouped_vs_padded": ratio(seconds["padded"], seconds["grouped"]),
        "packed_vs_padded": ratio(seconds["padded"], seconds["packed"]),
        "seconds": seconds,
        "peak_gigabytes": peaks,
        "bf16": both.trainer.args.bf16,
        "row_tokens": [row["length"] for row in some],
        "environment": describe_machine(),
    }


class Stepper:
    """A run's Trainer, one optimizer step at a time."""

    def __init__(self, config: RunConfig) -> None:
        self.trainer = build_trainer(config)
        self.model = self.trainer.model.train()
        self.optimizer = self.trainer.create_optimizer()
        self.attention = self.model.generator.config._attn_implementation

    def padded(self, rows: Sequence[Row]) -> Batch:
        """A batch as the Trainer makes it."""
        return self.trainer.data_collator(rows)

    def seconds(self, batch: Batch) -> float:
        """Of one optimizer step as the Trainer takes it."""
        return self._seconds(lambda: self.trainer.compute_loss(self.model, self._placed(batch)))

    def seconds_a_token(
        self, rows: Sequence[Row], together: Callable[[Sequence[Row]], Batch]
    ) -> float:
        """Of one step over several rows, padding not counted as tokens."""
        return self.seconds(together(rows)) / sum(row["length"] for row in rows)

    def seconds_as_released(self, row: Row) -> float:
        """Of one step padded to the longest length, with all logits and transformers' attention."""
        self.model.set_attn_implementation("sdpa")
        batch = self._placed(self.at_full_length(row))
        taken = self._seconds(lambda: self.model(**batch).loss)
        self.model.set_attn_implementation(self.attention)
        return taken

    def flops(self, row: Row) -> int:
        """Of one row's step, forward and backward."""
        with FlopCounterMode(display=False) as counter:
            self.seconds(self.padded([row]))
        return counter.get_total_flops()

    def at_full_length(self, row: Row) -> Batch:
        """One row as the released code pads it."""
        batch = self.padded([row])
        missing = RELEASED_TOKENS - batch["input_ids"].shape[1]
        padding = {"input_ids": self.trainer.processing_class.pad_token_id, "labels": -100}
        for name in ("input_ids", "labels", "attention_mask"):
            batch[name] = pad(batch[name], (0, missing), value=padding.get(name, 0))
        return batch

    def _placed(self, batch: Batch) -> Batch:
        return {name: values.to(self.model.device) for name, values in batch.items()}

    def _seconds(self, make_loss: Callable[[], Tensor]) -> float:
        begun = time.perf_counter()
        device = self.model.device.type
        with torch.autocast(device, torch.bfloat16, enabled=bool(self.trainer.args.bf16)):
            loss = make_loss()
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        loss.item()  # an accelerator has finished
        return time.perf_counter() - begun


def without_reasoner(config: RunConfig) -> RunConfig:
    """The same run of the Generator alone: SFT."""
    model = replace(config.model, reasoner=None, reasoner_layers=None, fusion_weight=0.0)
    return replace(config, model=model)


def batches(rows: Sequence[Row]) -> list[Sequence[Row]]:
    """`BATCH` rows each, in order; what is left over is left out."""
    return [rows[n : n + BATCH] for n in range(0, len(rows) - BATCH + 1, BATCH)]


def packed_batch(rows: Sequence[Row]) -> Batch:
    """All rows in one, [1, tokens]; positions restart, so that none attends to another."""
    lengths = torch.tensor([len(row["input_ids"]) for row in rows])
    prompts = torch.tensor([row["prompt_length"] for row in rows])
    return {
        "input_ids": torch.tensor([[token for row in rows for token in row["input_ids"]]]),
        "labels": torch.tensor([[label for row in rows for label in row["labels"]]]),
        "position_ids": torch.cat([torch.arange(int(n)) for n in lengths])[None],
        "prompt_length": prompts.repeat_interleave(lengths)[None],
    }


_MEMORY = ("flythinker", "released")


def _peak_gigabytes_apart(config: RunConfig, released: bool) -> float:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_peak_gigabytes, config, released).result()


def _peak_gigabytes(config: RunConfig, released: bool) -> float:
    """Of this process, or of the accelerator, in two steps over the longest row."""
    stepper = Stepper(config)
    row = max(stepper.trainer.train_dataset, key=lambda row: row["length"])
    for _ in range(2):  # the second has the optimizer's moments
        if released:
            stepper.seconds_as_released(row)
        else:
            stepper.seconds(stepper.padded([row]))
    return peak_gigabytes()
