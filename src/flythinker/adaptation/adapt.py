"""Learning one person: low-rank changes of the Reasoner from their own texts (not in the paper).

The Generator stays one for all. Each text teaches in turn with the earlier ones as its history, so
prompt and adapter learn together. The newest texts are kept out; the adapter is kept only if those
are predicted better with it.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import torch
from numpy.typing import NDArray
from peft import LoraConfig, get_peft_model
from transformers import PreTrainedModel, set_seed

from flythinker.adaptation.teaching import split_newest
from flythinker.adapter import (
    About,
    Adapter,
    Changes,
    Part,
    fingerprint,
    layers_to_adapt,
    merge_changes,
)
from flythinker.data.batch import Collator, Row, encode
from flythinker.data.document import Document
from flythinker.data.example import Example
from flythinker.data.words import count_words
from flythinker.errors import FlyThinkerError
from flythinker.model_folder import PersonalModel
from flythinker.runs import claim
from flythinker.scoring.losses import loss_statistics, token_losses
from flythinker.scoring.significance import Interval, paired_difference, ratio
from flythinker.training.config import FlyThinkerTrainingArguments
from flythinker.training.run import last_checkpoint
from flythinker.training.trainer import FlyThinkerTrainer

SCALE = 2.0
"""W becomes W + SCALE · B A."""


@dataclass(frozen=True)
class AdaptSettings:
    """How an adapter learns.

    Attributes:
        part: what is changed: the "reasoner" with its projection, or the "generator", as OPPU
            (arXiv 2402.04401) does, for comparison.
        rank: of the changes.
        epochs: how often each text teaches.
        learning_rate: of the changes; those of the projection learn twice as fast.
        batch_size: texts an optimizer step.
        seed: of the order and of the first numbers.
    """

    part: Part = "reasoner"
    rank: int = 8
    epochs: int = 2
    learning_rate: float = 1e-3
    batch_size: int = 4
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """What came of it; `kept` where the interval of the gain is below zero."""

    adapter: Adapter
    kept: bool

    @property
    def why(self) -> str:
        """Why it is not kept, in words; empty if it is."""
        if self.kept:
            return ""
        about = self.adapter.about
        how = "are not predicted better" if about.gain >= 0 else "may be predicted better by chance"
        return f"the newest passages {how} (the interval reaches {about.high:+.3f})"


def adapt(
    personal: PersonalModel,
    user: str,
    documents: Sequence[Document],
    work: Path,
    settings: AdaptSettings = AdaptSettings(),
) -> Outcome:
    """Learn an adapter of `personal`, whose weights are used up, and judge it.

    Args:
        personal: the model; its weights become float32 and end with the changes in them.
        user: whose texts they are.
        documents: dated texts, in any order.
        work: a folder for checkpoints, from which a killed run goes on; remove it when the adapter
            is saved.
        settings: see `AdaptSettings`.

    Raises:
        FlyThinkerError: too few texts, a model without a Reasoner, or `work` was begun with other
            texts or settings.
    """
    if settings.part == "reasoner" and personal.model.reasoner is None:
        raise FlyThinkerError("this model has no Reasoner to adapt: use --part generator")
    learned, held_out = split_newest(user, documents)
    base = fingerprint(personal.model, settings.part)
    texts = sha256("\0".join(example.target for example in learned).encode()).hexdigest()
    noted = {"base": base, "texts": texts, "settings": asdict(settings)}
    claim(work / "settings.json", noted, f"remove {work}", started=_checkpoint(work) is not None)
    rows, judged = (_rows(personal, examples) for examples in (learned, held_out))
    shared = personal.model.float()
    before = _losses(shared, judged, personal, "Loss without an adapter")
    started = time.monotonic()
    changes = learn(personal, rows, work, settings)
    seconds = time.monotonic() - started
    # judged as it is kept
    merge_changes(shared, changes, SCALE)
    after = _losses(shared, judged, personal, "Loss with it")
    gain = paired_difference(after, before)
    losses = float(ratio(before.sum(0))), float(ratio(after.sum(0)))
    about = _about(user, base, settings, learned, len(judged), losses, gain, seconds)
    return Outcome(Adapter(about, changes), gain.high < 0)


def learn(
    personal: PersonalModel, rows: Sequence[Row], work: Path, settings: AdaptSettings
) -> Changes:
    """Train changes of a float32 model on `rows`; the model itself stays as it is.

    A killed run goes on from its checkpoint in `work`.
    """
    checkpoint = _checkpoint(work)
    model = _with_changes(personal.model, settings)
    trainer = FlyThinkerTrainer(
        model=model,
        args=_arguments(work, settings, len(rows)),
        train_dataset=list(rows),
        data_collator=Collator(personal.tokenizer.pad_token_id),
        processing_class=personal.tokenizer,
    )
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    changes = _changes_of(model)
    # the Trainer's model may autocast: what is measured later must be as before
    model.unload()
    return changes


def _checkpoint(work: Path) -> Path | None:
    return last_checkpoint(work) if work.exists() else None


def _rows(personal: PersonalModel, examples: Sequence[Example]) -> list[Row]:
    return encode(examples, personal.tokenizer, personal.prompt)


def _losses(
    model: PreTrainedModel, rows: Sequence[Row], personal: PersonalModel, description: str
) -> NDArray:
    collator = Collator(personal.tokenizer.pad_token_id)
    return loss_statistics(token_losses(model, rows, collator, 4, description))


def _with_changes(model: PreTrainedModel, settings: AdaptSettings) -> PreTrainedModel:
    """The model with changes that begin at zero; nothing else of it learns."""
    set_seed(settings.seed)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=int(SCALE * settings.rank),
        target_modules=layers_to_adapt(model, settings.part),
    )
    return get_peft_model(model, config)


def _arguments(work: Path, settings: AdaptSettings, texts: int) -> FlyThinkerTrainingArguments:
    steps = settings.epochs * math.ceil(texts / settings.batch_size)
    return FlyThinkerTrainingArguments(
        output_dir=str(work),
        max_steps=steps,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        projection_learning_rate=2 * settings.learning_rate,
        warmup_steps=min(10, steps // 5),
        save_steps=max(10, steps // 10),
        save_total_limit=1,
        logging_steps=5,
        seed=settings.seed,
        train_sampling_strategy="group_by_length",
        remove_unused_columns=False,
        label_names=["labels"],
        prediction_loss_only=True,
        report_to=[],
    )


def _about(
    user: str,
    base: str,
    settings: AdaptSettings,
    learned: Sequence[Example],
    held_out: int,
    losses: tuple[float, float],
    gain: Interval,
    seconds: float,
) -> About:
    return About(
        user=user,
        part=settings.part,
        base=base,
        scale=SCALE,
        texts=len(learned),
        words=sum(count_words(example.target) for example in learned),
        held_out=held_out,
        before=losses[0],
        after=losses[1],
        gain=gain.difference,
        low=gain.low,
        high=gain.high,
        seconds=seconds,
        made=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _changes_of(model: PreTrainedModel) -> Changes:
    """A and B of every adapted layer, by its name in the model without adapters."""
    found = {
        name.removeprefix("base_model.model."): module
        for name, module in model.named_modules()
        if hasattr(module, "lora_A") and "default" in module.lora_A
    }
    return {
        name: tuple(
            getattr(module, side)["default"].weight.detach().to("cpu", torch.bfloat16)
            for side in ("lora_A", "lora_B")
        )
        for name, module in found.items()
    }
