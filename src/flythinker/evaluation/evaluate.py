"""Evaluating trained models and the texts they wrote on one data file."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import transformers

from flythinker import __version__
from flythinker.data.batch import Collator, encode
from flythinker.data.example import Example
from flythinker.decoding.generate import read_outputs
from flythinker.evaluation.compare import MethodResult
from flythinker.evaluation.positions import token_losses
from flythinker.model_folder import PersonalModel, load_model_folder, read_prompt


def evaluate(
    examples: Sequence[Example],
    models: Mapping[str, str],
    outputs: Mapping[str, Path],
    batch_size: int = 4,
) -> list[MethodResult]:
    """Held-out loss of each model, and the predictions in each output file, by method name.

    Args:
        examples: the held-out examples.
        models: method name → model folder, or a base model's name; base models get the prompt
            settings of the first trained one.
        outputs: method name → file written by `flythinker generate` on the same examples.
        batch_size: rows at a time for the losses.
    """
    names = dict.fromkeys([*models, *outputs])
    results = {name: MethodResult(name) for name in names}
    for name, path in outputs.items():  # cheap, and may be wrong: first
        results[name].predictions = read_outputs(path, examples)
    # base models are asked as the trained ones were, or losses would not compare
    prompts = [prompt for folder in models.values() if (prompt := read_prompt(Path(folder)))]
    for name, folder in models.items():
        personal = load_model_folder(folder, next(iter(prompts), None))
        rows = encode(examples, personal.tokenizer, personal.prompt)
        collator = Collator(personal.tokenizer.pad_token_id)
        results[name].token_losses = token_losses(
            personal.model, rows, collator, batch_size, f"Held-out loss of {name}"
        )
        results[name].settings = describe_model(personal)
        results[name].training = personal.training.get("log_history", [])
    return list(results.values())


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
