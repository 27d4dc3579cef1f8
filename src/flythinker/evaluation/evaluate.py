"""Evaluating trained models and the texts they wrote on one data file."""

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers

from flythinker import __version__
from flythinker.data.batch import Collator, encode
from flythinker.data.example import Example
from flythinker.data.outputs import read_outputs
from flythinker.data.prompt import PromptConfig
from flythinker.evaluation.compare import MethodResult
from flythinker.hardware import dtype_name
from flythinker.model_folder import PersonalModel, load_model_folder, read_prompt
from flythinker.scoring.losses import response_characters, token_losses

Score = Callable[[Sequence[Example]], MethodResult]
Measure = Callable[[Callable[[], Score], Sequence[Example]], MethodResult]


def evaluate(
    examples: Sequence[Example],
    models: Mapping[str, str],
    outputs: Mapping[str, Path],
    batch_size: int = 4,
    measure: Measure | None = None,
    dtype: torch.dtype | None = None,
) -> list[MethodResult]:
    """Held-out loss of each model, and the predictions in each output file, by method name.

    Args:
        examples: the held-out examples.
        models: method name → model folder, or a base model's name; base models get the prompt
            settings of the first trained one.
        outputs: method name → file written by `flythinker generate` on the same examples.
        batch_size: rows at a time for the losses.
        measure: is given what loads a model and then measures examples (`scorer`), and the
            examples; default: load it here and measure all of them.
        dtype: of the weights, see `load_model_folder`.
    """
    names = dict.fromkeys([*models, *outputs])
    # cheap, and may be wrong: first
    predictions = {name: read_outputs(path, examples) for name, path in outputs.items()}
    # base models are asked as the trained ones were, or losses would not compare
    prompts = [prompt for folder in models.values() if (prompt := read_prompt(folder))]
    base_prompt = next(iter(prompts), None)
    results = {name: MethodResult(name) for name in names}
    for name, folder in models.items():
        load = partial(scorer, name, folder, base_prompt, batch_size, dtype)
        results[name] = measure(load, examples) if measure else load()(examples)
    for name, texts in predictions.items():
        results[name].predictions = texts
    return list(results.values())


def scorer(
    name: str,
    folder: str,
    base_prompt: PromptConfig | None,
    batch_size: int,
    dtype: torch.dtype | None = None,
) -> Score:
    """Load a model; returns what measures its held-out loss, with settings and training log.

    `base_prompt` is how a base model is asked; it and `dtype` are `load_model_folder`'s.
    """
    personal = load_model_folder(folder, base_prompt, dtype)
    collator = Collator(personal.tokenizer.pad_token_id)
    training = personal.training.get("log_history", [])

    def score(examples: Sequence[Example]) -> MethodResult:
        rows = encode(examples, personal.tokenizer, personal.prompt)
        title = f"Held-out loss of {name}"
        losses = token_losses(personal.model, rows, collator, batch_size, title)
        responses = [row["input_ids"][row["prompt_length"] :] for row in rows]
        characters = response_characters(responses, personal.tokenizer)
        settings = describe_model(personal)
        return MethodResult(name, settings, losses, characters, training=training)

    return score


def describe_model(personal: PersonalModel) -> dict[str, Any]:
    """The settings that a report shows of a model."""
    config = personal.model.config
    reasoner = config.reasoner_config
    parameters = {
        "Generator parameters": _millions(personal.model.generator),
        "weights": dtype_name(personal.model.dtype),
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
    millions = sum(parameter.numel() for parameter in part.parameters()) / 1e6
    return f"{millions:.{0 if millions >= 10 else 2}f} M"
