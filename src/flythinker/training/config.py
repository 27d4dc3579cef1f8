"""One YAML file describes a training run; every key is checked before anything is loaded."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import TrainingArguments

from flythinker.backbones.scratch import Sizes
from flythinker.data.prompt import PromptConfig
from flythinker.errors import FlyThinkerError
from flythinker.hardware import hardware, processor, warn_if_slow
from flythinker.model.config import Injection, Projection
from flythinker.model.quantization import Quantization
from flythinker.yaml_config import apply_override, build_section, check_keys, read_yaml

_BESIDE_TRAINED = ("trained", "fusion_weight", "dtype", "quantization", "attn_implementation")


@dataclass
class ModelSection:
    """Which models, and how thoughts meet the Generator (see `FlyThinkerConfig`).

    Attributes:
        generator: hub name, local folder, `smollm2-135m`, `gemma3-270m`, or the sizes of a model
            from scratch; left out with `trained`.
        reasoner: the same kinds of name, or sizes where the Generator has sizes; `null` trains the
            Generator alone (SFT).
        vocabulary: of the tokenizer that parts from scratch get, made of the texts of `data.train`.
        reasoner_layers: keep only the Reasoner's first N layers.
        dtype: of the weights in memory and on disk.
        quantization: load the parts in 4 bits (`nf4`) or 8 (`int8`), which LoRA leaves as they are;
            the finished model is whole again, in `dtype`. Needs bitsandbytes.
        attn_implementation: as in transformers (`sdpa`, `eager`, `flash_attention_2`, …); default:
            what transformers chooses. For short rows on a CPU, `eager` is the fastest.
        trained: a finished model to go on with, as `train` leaves it, in place of parts; all that
            is said of parts and of how thoughts enter is as it was saved, λ as well.
    """

    generator: str | Sizes | None = None
    reasoner: str | Sizes | None = None
    vocabulary: int | None = None
    reasoner_layers: int | None = None
    fusion_weight: float = 0.5
    injection: Injection = "global"
    projection: Projection = "pad"
    share_embeddings: bool = False
    dtype: Literal["float32", "bfloat16"] = "float32"
    quantization: Quantization | None = None
    attn_implementation: str | None = None
    trained: str | None = None

    def __post_init__(self) -> None:
        if self.generator is None and self.trained is None:
            raise ValueError("name a generator, or in trained a finished model to go on with")
        scratch = isinstance(self.generator, Sizes)
        for one in fields(self) if self.trained is not None else ():
            if one.name not in _BESIDE_TRAINED and getattr(self, one.name) != one.default:
                raise ValueError(f"{one.name} is as the trained model was saved: leave it out")
        if self.reasoner is not None and isinstance(self.reasoner, Sizes) != scratch:
            raise ValueError("generator and reasoner must both be names, or both be sizes")
        if scratch and self.vocabulary is None:
            raise ValueError("a model from scratch needs a vocabulary, such as vocabulary: 2048")
        if not scratch and self.vocabulary is not None:
            raise ValueError("vocabulary is for models from scratch; a named one brings its own")
        if scratch and self.reasoner_layers is not None:
            raise ValueError("reasoner_layers is for named models; set the layers of reasoner")
        if scratch and self.quantization is not None:
            raise ValueError("quantization is for named models; one from scratch is trained whole")

    def pretrained(self) -> str:
        """The name of what a run begins with, for what writes with it untrained.

        Raises:
            FlyThinkerError: it is trained from scratch.
        """
        if self.trained is not None:
            return self.trained
        if not isinstance(self.generator, str):
            raise FlyThinkerError(
                "model.generator is trained from scratch, but this method needs one that writes "
                "before it is trained: name a pretrained model"
            )
        return self.generator


@dataclass
class LoraSection:
    """Low-rank adapters on both parts (PEFT); merged into the weights at the end."""

    r: int = 16
    alpha: int = 32
    dropout: float = 0.0
    target_modules: str | list[str] = "all-linear"


@dataclass
class DataSection:
    """Example files (`flythinker data build`), and how many examples of them to use.

    The first `max_validation` examples of a fixed shuffle are used, the same for every method.
    `loss_on` says what is learned: the response, or `all` of the row, as from scratch, where the
    prompt is text to learn from as well. Losses that are measured are always the response's.
    """

    train: str
    validation: str | None = None
    max_train: int | None = None
    max_validation: int | None = None
    loss_on: Literal["response", "all"] = "response"


@dataclass
class FlyThinkerTrainingArguments(TrainingArguments):
    """transformers' `TrainingArguments` and what two parts need.

    Attributes:
        bf16: compute in bf16; `auto`, as it is given, becomes whether the hardware multiplies bf16
            natively, and `bf16_asked` keeps what was given.
        reasoner_learning_rate: of the Reasoner; default: `learning_rate`, which is the Generator's.
        projection_learning_rate: of the linear projection; default: `reasoner_learning_rate`.
        fusion_warmup_steps: ramp λ linearly from 0 over this many optimizer steps.
        draft_loss_weight: of the Reasoner's own next-token loss, for drafts; 0 is the paper.
        freeze_generator, freeze_reasoner: leave this part as it is.
        early_stopping_patience: stop after so many evaluations without a lower loss; keeps the
            best weights.
        global_batch_size: rows an optimizer step learns from, over all processes; then
            `gradient_accumulation_steps` follows from it and the number of processes, so that a
            run may go on with more or fewer of them.
    """

    bf16: bool | Literal["auto"] = "auto"
    bf16_asked: bool | Literal["auto"] = field(init=False, repr=False, default="auto")
    reasoner_learning_rate: float | None = None
    projection_learning_rate: float | None = None
    fusion_warmup_steps: int = 0
    draft_loss_weight: float = 0.0
    freeze_generator: bool = False
    freeze_reasoner: bool = False
    early_stopping_patience: int | None = None
    global_batch_size: int | None = None

    def __post_init__(self) -> None:
        if self.early_stopping_patience is not None:
            self.load_best_model_at_end = True
        if self.global_batch_size is not None:
            self.gradient_accumulation_steps = self._accumulation(self.global_batch_size)
        self.bf16_asked = self.bf16
        computing = processor() if self.use_cpu else hardware()  # type: ignore[has-type]
        # transformers refuses bf16 on a CPU that it was not told to use
        self.use_cpu = computing.device == "cpu"
        if self.bf16 == "auto":
            self.bf16 = computing.native_bf16 and not self.fp16
        elif self.bf16:
            warn_if_slow(torch.bfloat16, "training.bf16", computing)
        # what our configs call `gradient_checkpointing` has another name since transformers 5.24
        if getattr(self, "activation_checkpointing", True) is None:
            self.activation_checkpointing = self.gradient_checkpointing
        super().__post_init__()

    def _accumulation(self, rows: int) -> int:
        """Batches that each process takes for a step over `rows` rows."""
        processes = int(os.environ.get("WORLD_SIZE", "1"))  # of every launcher
        at_once = self.per_device_train_batch_size * processes
        if rows < at_once or rows % at_once:
            raise ValueError(
                f"global_batch_size is {rows}, but {processes} processes with "
                f"per_device_train_batch_size {self.per_device_train_batch_size} read {at_once} "
                "rows at once: it must be a multiple of that"
            )
        return rows // at_once

    def learning_rates(self) -> dict[str, float]:
        """The peak learning rate of each part."""
        reasoner = self.reasoner_learning_rate
        if reasoner is None:
            reasoner = self.learning_rate
        projection = self.projection_learning_rate
        if projection is None:
            projection = reasoner
        return {
            "generator": self.learning_rate,
            "reasoner": reasoner,
            "projection": projection,
        }


@dataclass
class RunConfig:
    """A whole training run, as a YAML file writes it."""

    model: ModelSection
    data: DataSection
    training: FlyThinkerTrainingArguments
    prompt: PromptConfig = field(default_factory=PromptConfig)
    lora: LoraSection | None = None


CONFIG_SECTIONS: dict[str, type] = {
    "model": ModelSection,
    "data": DataSection,
    "training": FlyThinkerTrainingArguments,
    "prompt": PromptConfig,
    "lora": LoraSection,
}
# the defaults where ours differ from transformers'
_TRAINING_DEFAULTS = {
    "train_sampling_strategy": "group_by_length",
    "remove_unused_columns": False,
    "label_names": ["labels"],
    "prediction_loss_only": True,
    "report_to": ["tensorboard"],
    "logging_steps": 10,
    # transformers shows no bar where its own messages are silenced, as our command line does
    "disable_tqdm": False,
    "save_total_limit": 2,
}


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> RunConfig:
    """Read a config file and apply `section.key=value` overrides.

    >>> from flythinker import load_config
    >>> config = load_config("train.yaml", ["training.max_steps=3"])
    >>> config.training.max_steps
    3

    Raises:
        FlyThinkerError: no such file, not YAML, a missing or unknown key (naming the nearest known
            one), a value of the wrong type, settings that contradict each other.
    """
    return parse_config(read_yaml(Path(path)), str(path), overrides)


def parse_config(raw: dict[str, Any], path: str, overrides: Iterable[str] = ()) -> RunConfig:
    """Make a config of sections already read, as `load_config` does; `path` is for the messages."""
    check_keys(raw, CONFIG_SECTIONS, path, "section")
    raw = dict(raw)
    for override in overrides:
        apply_override(raw, override, CONFIG_SECTIONS)
    sections = {
        name: build_section(
            CONFIG_SECTIONS[name],
            _TRAINING_DEFAULTS | values if name == "training" else values,
            f"{path}: {name}",
        )
        for name, values in raw.items()
        if values is not None
    }
    missing = {"model", "data", "training"} - sections.keys()
    if missing:
        raise FlyThinkerError(f"{path}: section '{sorted(missing)[0]}' is missing")
    config = RunConfig(**sections)
    if config.prompt.reasoner_k is not None and config.model.injection == "input":
        raise FlyThinkerError(
            f"{path}: with prompt.reasoner_k the Reasoner has a prompt of its own, whose thoughts "
            "have no place in the Generator's: set model.injection to global or output"
        )
    if config.model.quantization is not None and config.lora is None:
        raise FlyThinkerError(
            f"{path}: model.quantization: rounded weights cannot be trained; add a section lora"
        )
    return config
