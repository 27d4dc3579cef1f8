"""A training run from its config to a model folder that everything else can use."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from flythinker.backbones.scratch import Sizes, trained_tokenizer
from flythinker.data import batch
from flythinker.data.batch import Collator, Row, encode
from flythinker.data.encoded import encode_file
from flythinker.data.example import Example, read_examples, sample_examples
from flythinker.data.prompt import PromptConfig
from flythinker.data.rows import Rows
from flythinker.disk import named_when_full
from flythinker.errors import FlyThinkerError
from flythinker.model_folder import load_tokenizer, read_training, save_model_folder
from flythinker.runs import claim
from flythinker.training.build import build_model
from flythinker.training.config import RunConfig
from flythinker.training.processes import explained_loss, whole_state
from flythinker.training.room import RoomCheck
from flythinker.training.trainer import FlyThinkerTrainer

_CONFIG_FILE = "config.yaml"
# a description holds one of them, see `_describe`
_BATCH_SIZES = {"global_batch_size", "gradient_accumulation_steps"}
# the training arguments that a model card shows
_SHOWN = (
    "learning_rate",
    "reasoner_learning_rate",
    "projection_learning_rate",
    "lr_scheduler_type",
    "weight_decay",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "num_train_epochs",
    "max_steps",
    "bf16",
    "seed",
)


Encode = Callable[[Sequence[Example], PreTrainedTokenizerBase, PromptConfig], list[Row]]


@dataclass(frozen=True)
class Recipe:
    """What a compared method changes in a training run; the defaults train SFT and FlyThinker.

    Attributes:
        encode: examples → rows; called only if there is something to train.
        collator: makes batches of such rows; called with the padding token's id.
        trainer: takes what `FlyThinkerTrainer` takes.
    """

    encode: Encode = encode
    collator: Callable[[int], Collator] = Collator
    trainer: Callable[..., FlyThinkerTrainer] = FlyThinkerTrainer


DEFAULT_RECIPE = Recipe()


def train(config: RunConfig, restart: bool = False, recipe: Recipe = DEFAULT_RECIPE) -> Path:
    """Train as `config` says; returns the folder of the finished model, `output_dir/model`.

    A run that was killed goes on from its last complete checkpoint and ends as if it had not
    been killed. A finished run is not repeated.

    >>> from flythinker import load, load_config, train
    >>> folder = train(load_config("train.yaml"))
    >>> load(str(folder)).training["steps"]
    2

    Args:
        config: see `load_config`.
        restart: forget what `output_dir` holds and start over.
        recipe: how a compared method's training differs.

    Raises:
        FlyThinkerError: `output_dir` holds a run with other settings, or bad data.
        DiskFull: there is no room, or there surely would be none; see `RoomCheck`.
    """
    output = Path(config.training.output_dir)
    model_folder = output / "model"
    with config.training.main_process_first(local=False):
        if restart and config.training.process_index == 0:
            _forget(output)
        checkpoint = last_checkpoint(output)
        described = _describe(config)
        claim(
            output / _CONFIG_FILE,
            described,
            "choose another training.output_dir, or start over with --restart",
            started=checkpoint is not None or model_folder.exists(),
            counting=partial(_known_arguments, described),
        )
        if model_folder.exists():
            return model_folder
        for unfinished in output.glob(".model.*"):  # a killed run was saving it
            shutil.rmtree(unfinished)

    trainer = build_trainer(config, recipe)
    trainer.add_callback(RoomCheck(trainer.model, config.training))
    with explained_loss(), named_when_full(output):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        state = whole_state(trainer)
        if trainer.is_world_process_zero():
            _save(model_folder, trainer, state, config)
        trainer.accelerator.wait_for_everyone()
    return model_folder


def _save(
    folder: Path, trainer: FlyThinkerTrainer, state: dict[str, Tensor] | None, config: RunConfig
) -> None:
    """Write the model folder; `state` is what `whole_state` says."""
    model = trainer.model
    if state is not None:
        model = build_model(config.model, config.lora, trainer.processing_class)
        model.load_state_dict(state)
    elif config.model.quantization is not None:
        model = _in_full_precision(model, config)
    training = {
        "log_history": trainer.state.log_history,
        "steps": trainer.state.global_step,
        "data": asdict(config.data),
        "model": asdict(config.model) | _parts_of(config.model.trained),
        "lora": asdict(config.lora) if config.lora else None,
        "settings": {name: getattr(config.training, name) for name in _SHOWN},
    }
    save_model_folder(folder, model, trainer.processing_class, config.prompt, training)


def _parts_of(trained: str | None) -> dict[str, Any]:
    """What a model that a run went on with was made of, for its card: names, licences."""
    made_of = read_training(trained).get("model", {}) if trained is not None else {}
    return {part: made_of[part] for part in ("generator", "reasoner") if part in made_of}


def _in_full_precision(trained: nn.Module, config: RunConfig) -> PreTrainedModel:
    """What was trained, on the parts as they were before they were quantized."""
    model = build_model(replace(config.model, quantization=None), config.lora)
    learned = {name: p.cpu() for name, p in trained.named_parameters() if p.requires_grad}
    model.load_state_dict(learned, strict=False)
    return model


def build_trainer(config: RunConfig, recipe: Recipe = DEFAULT_RECIPE) -> FlyThinkerTrainer:
    """Load data and models and join them in a Trainer; the seed is set before anything is drawn.

    Raises:
        FlyThinkerError: see `load_rows` and `build_model`.
    """
    set_seed(config.training.seed)
    tokenizer = run_tokenizer(config)
    rows, validation = load_rows(config, tokenizer, recipe.encode)
    return recipe.trainer(
        model=build_model(config.model, config.lora, tokenizer),
        args=config.training,
        train_dataset=rows,
        eval_dataset=validation,
        data_collator=recipe.collator(tokenizer.pad_token_id),
        processing_class=tokenizer,
    )


def run_tokenizer(config: RunConfig) -> PreTrainedTokenizerBase:
    """The Generator's or the trained model's; for one from scratch, that of the training texts.

    Raises:
        FlyThinkerError: a name that does not work, or see `trained_tokenizer`.
    """
    model = config.model
    if isinstance(model.generator, Sizes):
        assert model.vocabulary is not None
        return load_tokenizer(str(trained_tokenizer(config.data.train, model.vocabulary)))
    key = "generator" if model.trained is None else "trained"
    try:
        return load_tokenizer(getattr(model, key))
    except (ValueError, OSError) as error:
        raise FlyThinkerError(f"model.{key}: {error}") from error


def last_checkpoint(output: Path) -> Path | None:
    """The newest complete checkpoint; ones whose writing was interrupted are removed."""
    complete = []
    for folder in output.glob("checkpoint-*"):
        try:  # transformers writes this file last
            complete.append((json.loads((folder / "trainer_state.json").read_text()), folder))
        except (OSError, json.JSONDecodeError):
            shutil.rmtree(folder)
    return max(complete, key=lambda pair: pair[0]["global_step"])[1] if complete else None


def load_rows(
    config: RunConfig, tokenizer: PreTrainedTokenizerBase, encode: Encode = encode
) -> tuple[Sequence[Row], Sequence[Row] | None]:
    """Encoded training and validation examples.

    Rows of the ordinary `encode` are kept in the user's cache, see `encode_file`.
    """
    data = config.data

    def read(path: str, limit: int | None) -> Sequence[Row]:
        if encode is batch.encode:
            return encode_file(path, limit, tokenizer, config.prompt)
        return encode(sample_examples(read_examples(path), limit), tokenizer, config.prompt)

    rows = read(data.train, data.max_train)
    if data.loss_on == "all":
        if encode is not batch.encode:
            raise FlyThinkerError(
                "data.loss_on: this method makes rows of its own, of which only the response can "
                "be learned: leave it at response"
            )
        if isinstance(rows, Rows):
            rows = rows.learned_whole()
        else:
            rows = [{**row, "labels": row["input_ids"]} for row in rows]
    if not rows:
        raise FlyThinkerError(f"{data.train}: no examples to train on")
    if data.validation is None:
        if config.training.eval_strategy != "no":
            raise FlyThinkerError("training.eval_strategy needs data.validation: name a file")
        return rows, None
    validation = read(data.validation, data.max_validation)
    if not validation:
        raise FlyThinkerError(f"{data.validation}: no examples to evaluate on")
    return rows, validation


def _forget(output: Path) -> None:
    """Remove what a run writes, and nothing else that may be in its folder."""
    if not (output / _CONFIG_FILE).exists():
        return
    for name in ("checkpoint-*", "model", "runs"):
        for folder in output.glob(name):
            shutil.rmtree(folder)


def _describe(config: RunConfig) -> dict[str, Any]:
    described = asdict(config) | {"training": config.training.to_dict()}
    # a date; and what may differ between processes, and between a run and its resumption
    varying = ["logging_dir", "local_rank", "use_cpu"]
    if config.training.global_batch_size is None:
        varying.append("global_batch_size")
    else:
        varying.append("gradient_accumulation_steps")  # follows from the number of processes
    for name in varying:
        described["training"].pop(name, None)
    described["training"]["bf16"] = config.training.bf16_asked  # `auto` may differ elsewhere
    return described


def _known_arguments(now: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """What was described before, with the training arguments of the installed transformers.

    Another version has others; so an update does not strand a started run.
    """
    missing = now["training"] | dict.fromkeys(_BATCH_SIZES)
    training = {name: before["training"].get(name, missing[name]) for name in now["training"]}
    return before | {"training": training}
