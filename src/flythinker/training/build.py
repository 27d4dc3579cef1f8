"""The model of a training run, from its `model:` and `lora:` settings."""

from dataclasses import fields
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from flythinker.backbones.scratch import Sizes
from flythinker.errors import FlyThinkerError
from flythinker.hardware import choose_dtype, native_dtype
from flythinker.model import FlyThinkerForCausalLM
from flythinker.model.quantization import keep_layout, quantization_config
from flythinker.training.config import LoraSection, ModelSection


def build_model(
    section: ModelSection,
    lora: LoraSection | None,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> PreTrainedModel:
    """Join the two parts, pretrained or from scratch, with adapters if asked for; or go on.

    Parts from scratch need the `tokenizer`. They are drawn in turn, the Generator first: with one
    seed it is the same with and without a Reasoner.

    Raises:
        FlyThinkerError: a setting or a name that does not work, with the reason.
    """
    unset_hf_deepspeed_config()  # ZeRO-3 cuts the whole model, not its parts while they are made
    settings = {f.name: getattr(section, f.name) for f in fields(section)}
    del settings["vocabulary"]  # it is the tokenizer's
    settings["dtype"] = choose_dtype(None, getattr(torch, section.dtype), "model.dtype")
    quantization, trained = settings.pop("quantization"), settings.pop("trained")
    if trained is None and section.reasoner is None and section.fusion_weight != 0:
        raise FlyThinkerError(
            "model: without a reasoner this is SFT: set model.fusion_weight to 0 (or name one)"
        )
    try:
        if quantization is not None:
            settings["quantization_config"] = quantization_config(quantization, native_dtype())
        for part, auto in (("generator", AutoModelForCausalLM), ("reasoner", AutoModel)):
            if isinstance(sizes := settings[part], Sizes):
                assert tokenizer is not None
                sizes = sizes.config(tokenizer, section.attn_implementation)
                settings[part] = auto.from_config(sizes, dtype=settings["dtype"])
        if trained is not None:
            model = _go_on(section, settings)
        else:
            model = FlyThinkerForCausalLM.from_generator_reasoner_pretrained(**settings)
        keep_layout(model, training=True)
    except (ValueError, OSError) as error:
        raise FlyThinkerError(f"model: {error}") from error
    return model if lora is None else with_adapters(model, lora)


def _go_on(section: ModelSection, settings: dict[str, Any]) -> PreTrainedModel:
    """The model `section.trained` as it was saved; one trained without a Reasoner is SFT."""
    names = ("dtype", "attn_implementation", "quantization_config")
    model = FlyThinkerForCausalLM.from_pretrained(
        section.trained, **{name: settings[name] for name in names if name in settings}
    )
    if (model.reasoner is None) != (section.fusion_weight == 0):
        raise ValueError(
            f"{section.trained} has no Reasoner, so it is SFT that goes on: set "
            "model.fusion_weight to 0"
            if model.reasoner is None
            else f"{section.trained} has a Reasoner: SFT goes on with a model trained without one"
        )
    return model


def with_adapters(model: PreTrainedModel, lora: LoraSection) -> PreTrainedModel:
    """LoRA's adapters on both parts; a linear projection is trained whole."""
    from peft import LoraConfig, get_peft_model

    # "all-linear" would adapt routers too, which give more than one tensor
    excluded = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and "Router" in type(module).__name__
    ]
    if model.projection is not None:
        excluded.append("projection")
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules,
        modules_to_save=["projection"] if model.projection is not None else None,
        exclude_modules=excluded or None,
    )
    return get_peft_model(model, config)
