"""What a training run will take on one device, and what to change so that it fits."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from flythinker.backbones.packaged import resolve_backbone
from flythinker.backbones.scratch import Sizes
from flythinker.data.example import Document, Example
from flythinker.data.prompt import build_prompt
from flythinker.errors import FlyThinkerError
from flythinker.model import FlyThinkerConfig
from flythinker.model.parts import first_layers
from flythinker.planning.simulate import Step, simulate
from flythinker.training.config import LoraSection, ModelSection, RunConfig
from flythinker.training.run import run_tokenizer

RESERVED = 0.1
"""The part of a device's memory that is left for what is not counted: its driver's own, and holes
between tensors."""


@dataclass(frozen=True)
class Change:
    """Settings that save memory, as `--set` takes them, and the peak with them and those before."""

    settings: tuple[str, ...]
    peak: int


@dataclass(frozen=True)
class Plan:
    """A training run on one device.

    Attributes:
        row_tokens, learned_tokens: of the longest row.
        step: what an optimizer step takes, all its rows being the longest.
        memory: of the device, in bytes; `None` where it was not said.
        changes: what to change, one after the other, so that it fits; empty if it does, or if
            nothing is known that helps.
        steps: of the whole run; `None` where the number of examples is not known.
        flops_per_second: given or measured.
    """

    row_tokens: int
    learned_tokens: int
    step: Step
    memory: int | None
    changes: tuple[Change, ...]
    steps: int | None
    flops_per_second: float | None

    @property
    def fits(self) -> bool | None:
        """Whether the peak leaves `RESERVED` of the memory; `None` where that was not said."""
        return None if self.memory is None else fits(self.step.peak, self.memory)

    @property
    def step_seconds(self) -> float | None:
        """Of an optimizer step, at most: its rows are the longest."""
        return self.step.flops / self.flops_per_second if self.flops_per_second else None


def fits(peak: int, memory: int) -> bool:
    """Whether a peak leaves `RESERVED` of a memory, both in bytes."""
    return peak <= (1 - RESERVED) * memory


def make_plan(
    config: RunConfig,
    memory: int | None = None,
    row_tokens: int | None = None,
    flops_per_second: float | None = None,
) -> Plan:
    """Plan a run from its config and the configs of its models; no weights are read.

    Args:
        config: see `load_config`.
        memory: of one GPU, in bytes; `bf16: auto` then means true.
        row_tokens: of the longest row; default: what the budgets of `prompt` allow.
        flops_per_second: what the device does.

    Raises:
        FlyThinkerError: a model's config that cannot be read, or what cannot be planned.
    """
    if config.prompt.reasoner_k is not None:
        raise FlyThinkerError(
            "prompt.reasoner_k: a Reasoner with a prompt of its own cannot be planned yet"
        )
    if memory is not None and config.training.bf16_asked == "auto":  # as it will be there
        config = _trained(config, bf16=True)[1]
    model_config = joined_config(config)
    longest = row_tokens or longest_row(config)
    learned = min(config.prompt.response_tokens, longest - 1)
    if config.data.loss_on == "all":
        learned = longest - 1

    def step(changed: RunConfig) -> Step:
        return simulate(changed, copy.deepcopy(model_config), longest, learned)

    found = step(config)
    changes: tuple[Change, ...] = ()
    if memory is not None and not fits(found.peak, memory):
        changes = _changes(config, memory, step)
    return Plan(longest, learned, found, memory, changes, _steps(config), flops_per_second)


def joined_config(config: RunConfig) -> FlyThinkerConfig:
    """The config of the model that a run trains.

    Raises:
        FlyThinkerError: a part's config cannot be read, or the two do not go together.
    """
    section = config.model
    if section.trained is not None:
        return _part_config(config, "trained")
    try:
        generator = _part_config(config, "generator")
        reasoner = None
        if section.reasoner is not None:
            reasoner = _part_config(config, "reasoner")
            if section.reasoner_layers is not None:
                reasoner = first_layers(reasoner, section.reasoner_layers)
        return FlyThinkerConfig(
            generator_config=generator,
            reasoner_config=reasoner,
            fusion_weight=section.fusion_weight,
            injection=section.injection,
            projection=section.projection,
            share_embeddings=section.share_embeddings,
        )
    except ValueError as error:
        raise FlyThinkerError(f"model: {error}") from error


def longest_row(config: RunConfig) -> int:
    """Tokens of a row whose profile, query and response all fill their budgets.

    Where no tokenizer can be had it is the sum of the budgets.
    """
    prompt = config.prompt
    budgets = prompt.profile_tokens, prompt.query_tokens, prompt.response_tokens
    try:
        tokenizer = run_tokenizer(config)
    except FlyThinkerError:
        return sum(budgets)
    text = "It was a day like all the others. " * max(budgets)
    full = replace(prompt, retrieval="recent")
    built = build_prompt(Example("plan", text, text, (Document(text),)), tokenizer, full)
    return len(built.prompt_ids) + len(built.response_ids)


def _part_config(config: RunConfig, part: str) -> PreTrainedConfig:
    named = getattr(config.model, part)
    if isinstance(named, Sizes):
        return named.config(run_tokenizer(config))
    try:
        found = AutoConfig.from_pretrained(resolve_backbone(named))
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise FlyThinkerError(
            f"model.{part}: the config of {named} cannot be read ({reason}); a folder with its "
            "config.json is enough"
        ) from error
    # of a model that also sees, what writes
    return found if part == "trained" else found.get_text_config()


def _steps(config: RunConfig) -> int | None:
    arguments = config.training
    if arguments.max_steps > 0:
        return arguments.max_steps
    file = Path(config.data.train)
    if file.suffix != ".jsonl" or not file.is_file():
        return None
    with file.open("rb") as lines:
        examples = sum(1 for _ in lines)
    examples = min(examples, config.data.max_train or examples)
    batch = arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps
    return math.ceil(examples / batch) * math.ceil(arguments.num_train_epochs)


def _changes(
    config: RunConfig, memory: int, step: Callable[[RunConfig], Step]
) -> tuple[Change, ...]:
    """What saves memory, the cheapest in quality first, until it fits."""
    changes: list[Change] = []
    for change in (_one_row, _checkpointing, _small_moments, _adapters, _bfloat16, _nf4):
        settings, config = change(config)
        if not settings:
            continue
        changes.append(Change(settings, step(config).peak))
        if fits(changes[-1].peak, memory):
            return tuple(changes)
    return tuple(changes)


Changed = tuple[tuple[str, ...], RunConfig]


def _one_row(config: RunConfig) -> Changed:
    rows = config.training.per_device_train_batch_size
    if rows == 1:
        return (), config
    accumulated = rows * config.training.gradient_accumulation_steps
    return _trained(config, per_device_train_batch_size=1, gradient_accumulation_steps=accumulated)


def _checkpointing(config: RunConfig) -> Changed:
    if config.training.gradient_checkpointing:
        return (), config
    return _trained(config, gradient_checkpointing=True)


def _small_moments(config: RunConfig) -> Changed:
    if config.lora is not None or not config.training.optim.startswith("adamw_torch"):
        return (), config
    return _trained(config, optim="adamw_8bit")


def _adapters(config: RunConfig) -> Changed:
    if config.lora is not None:
        return (), config
    return ("lora.r=16",), replace(config, lora=LoraSection())


def _bfloat16(config: RunConfig) -> Changed:
    return _modelled(config, dtype="bfloat16") if config.model.dtype == "float32" else ((), config)


def _nf4(config: RunConfig) -> Changed:
    if config.model.quantization == "nf4" or isinstance(config.model.generator, Sizes):
        return (), config
    return _modelled(config, quantization="nf4")


def _modelled(config: RunConfig, **settings: Any) -> Changed:
    model: ModelSection = replace(config.model, **settings)
    return _as_set("model", settings), replace(config, model=model)


def _trained(config: RunConfig, **settings: Any) -> Changed:
    arguments = copy.copy(config.training)  # transformers' would be checked anew
    for name, value in settings.items():
        setattr(arguments, name, value)
    return _as_set("training", settings), replace(config, training=arguments)


def _as_set(section: str, settings: dict[str, Any]) -> tuple[str, ...]:
    written = {True: "true", False: "false"}
    return tuple(
        f"{section}.{name}={written.get(value, value) if isinstance(value, bool) else value}"
        for name, value in settings.items()
    )
