"""The model card: the README of a model folder, which the Hub shows and reads."""

import re
from importlib.resources import files
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from transformers import PreTrainedConfig

from flythinker.backbones.packaged import PACKAGED
from flythinker.backbones.scratch import Sizes
from flythinker.data.prompt import PromptConfig
from flythinker.errors import FlyThinkerError

CARD = "README.md"
_TEMPLATE = "card.md.j2"
_PAPER = "arxiv:2512.06690"
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def write_card(
    folder: Path, config: PreTrainedConfig, training: dict[str, Any], prompt: PromptConfig
) -> None:
    """Write the card of a model that `training` (see `PersonalModel`) has made."""
    parts = training.get("model", {})
    names = {name: _named(parts[name]) for name in ("generator", "reasoner") if parts.get(name)}
    bases = [_hub_name(name) for name in names.values()]
    evaluations = [entry for entry in training.get("log_history", []) if "eval_loss" in entry]
    loss = evaluations[-1]["eval_loss"] if evaluations else None
    licenses = {PACKAGED[name].license if name in PACKAGED else None for name in names.values()}
    data = training.get("data", {})
    card = ModelCardData(
        library_name="transformers",
        pipeline_tag="text-generation",
        base_model=list(dict.fromkeys(base for base in bases if base)) or None,
        license=licenses.pop() if len(licenses) == 1 else None,
        tags=["flythinker", "personalization", "latent-reasoning", _PAPER],
        model_name="FlyThinker" if config.reasoner_config else "SFT",
        eval_results=[_result(loss, data)] if loss is not None else None,
    )
    template = files("flythinker").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    ModelCard.from_template(
        card,
        template_str=template,
        config=config,
        parts=names,
        training=training,
        data=data,
        prompt=prompt,
        held_out_loss=loss,
    ).save(folder / CARD)


def set_license(folder: Path, license_name: str | None) -> None:
    """Note a licence in the card of a folder.

    Raises:
        FlyThinkerError: there is no card, or neither it nor `license_name` says the licence.
    """
    if not (folder / CARD).exists():
        raise FlyThinkerError(f"{folder}: no {CARD} in it; it is not a finished model folder")
    card = ModelCard.load(folder / CARD)
    if license_name is None and card.data.license is None:
        raise FlyThinkerError(
            f"{folder / CARD} says no license: give the base models' own with --license"
        )
    if license_name is not None:
        card.data.license = license_name
        card.save(folder / CARD)


def _named(part: str | dict[str, Any]) -> str:
    """A part's own name, or its sizes in words (see `Sizes`)."""
    return part if isinstance(part, str) else str(Sizes(**part))


def _hub_name(name: str) -> str | None:
    if name in PACKAGED:
        return PACKAGED[name].hub_name
    return name if _HUB_NAME.fullmatch(name) and not Path(name).exists() else None


def _result(loss: float, data: dict[str, Any]) -> EvalResult:
    return EvalResult(
        task_type="text-generation",
        dataset_type="personal-writing",
        dataset_name=Path(data.get("validation") or "validation").stem,
        metric_type="loss",
        metric_name="held-out loss, nats/token",
        metric_value=round(loss, 4),
    )
