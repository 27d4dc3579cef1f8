"""Evaluating trained models and the texts they wrote on one data file."""

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from flythinker import __version__
from flythinker.data.batch import Collator, encode
from flythinker.data.example import Example
from flythinker.data.prompt import PromptConfig
from flythinker.decoding.generate import read_outputs
from flythinker.evaluation.compare import MethodResult
from flythinker.evaluation.positions import token_losses
from flythinker.model_folder import PersonalModel, load_model_folder, read_prompt

Measure = Callable[[str, str, PromptConfig | None, Sequence[Example], int], MethodResult]


def evaluate(
    examples: Sequence[Example],
    models: Mapping[str, str],
    outputs: Mapping[str, Path],
    batch_size: int = 4,
    measure: Measure | None = None,
) -> list[MethodResult]:
    """Held-out loss of each model, and the predictions in each output file, by method name.

    Args:
        examples: the held-out examples.
        models: method name → model folder, or a base model's name; base models get the prompt
            settings of the first trained one.
        outputs: method name → file written by `flythinker generate` on the same examples.
        batch_size: rows at a time for the losses.
        measure: what measures a model; default: `measure_model`, here.
    """
    measure = measure or measure_model
    names = dict.fromkeys([*models, *outputs])
    # cheap, and may be wrong: first
    predictions = {name: read_outputs(path, examples) for name, path in outputs.items()}
    # base models are asked as the trained ones were, or losses would not compare
    prompts = [prompt for folder in models.values() if (prompt := read_prompt(folder))]
    base_prompt = next(iter(prompts), None)
    results = {name: MethodResult(name) for name in names}
    for name, folder in models.items():
        results[name] = measure(name, folder, base_prompt, examples, batch_size)
    for name, texts in predictions.items():
        results[name].predictions = texts
    return list(results.values())


def measure_model(
    name: str,
    folder: str,
    base_prompt: PromptConfig | None,
    examples: Sequence[Example],
    batch_size: int,
) -> MethodResult:
    """Held-out loss of one model, settings and training log with it; see `evaluate`."""
    personal = load_model_folder(folder, base_prompt)
    return MethodResult(
        name,
        settings=describe_model(personal),
        token_losses=examples_losses(personal, examples, batch_size, f"Held-out loss of {name}"),
        training=personal.training.get("log_history", []),
    )


def examples_losses(
    personal: PersonalModel, examples: Sequence[Example], batch_size: int, description: str
) -> list[NDArray[np.float32]]:
    """`token_losses` of examples that are not encoded yet."""
    rows = encode(examples, personal.tokenizer, personal.prompt)
    collator = Collator(personal.tokenizer.pad_token_id)
    return token_losses(personal.model, rows, collator, batch_size, description)


def describe_model(personal: PersonalModel) -> dict[str, Any]:
    """The settings that a report shows of a model."""
    config = personal.model.config
    reasoner = config.reasoner_config
    parameters = {
        "Generator parameters": _millions(personal.model.generator),
        "Reasoner": "none"
        if reasoner is None
        else f"{reasoner.num_hidden_layers} layers, {_millions(personal.model.reasoner)}",
    }
    fusion = (
        {}
        if reasoner is None
        else {
            "λ": config.fusion_weight,
            "injection": config.injection,
            "projection": config.projection,
        }
    )
    steps = {"training steps": personal.training.get("steps", 0)}
    prompt = {f"prompt {key}": value for key, value in asdict(personal.prompt).items()}
    return parameters | fusion | steps | prompt


def describe_environment() -> dict[str, str]:
    """What a report says about the machine and the software."""
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    name = "CPU" if device is None else torch.cuda.get_device_name()
    return {
        "device": f"{name}, {torch.get_num_threads()} threads",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "flythinker": __version__,
    }


def _millions(part: torch.nn.Module) -> str:
    return f"{sum(parameter.numel() for parameter in part.parameters()) / 1e6:.0f} M"
