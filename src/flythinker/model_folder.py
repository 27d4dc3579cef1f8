"""A model folder: weights, tokenizer and how prompts were made, all that writing needs."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.hub import cached_file

from flythinker.backbones.packaged import resolve_backbone
from flythinker.card import write_card
from flythinker.data.prompt import PromptConfig
from flythinker.data.template import first_ids, settled_template
from flythinker.errors import FlyThinkerError
from flythinker.files import atomic_folder
from flythinker.hardware import choose_dtype, native_dtype
from flythinker.model import FlyThinkerForCausalLM
from flythinker.model.quantization import Quantization, keep_layout, quantization_config

_PROMPT_FILE = "prompt.json"
_TRAINING_FILE = "training.json"


@dataclass(frozen=True)
class PersonalModel:
    """What writes: a FlyThinker model (in eval mode), its tokenizer and its prompt settings.

    `training` is `{"log_history", "steps", "data", "model"}` as the run left it, empty for a base
    model.

    >>> from flythinker import load
    >>> personal = load("smollm2-135m")
    >>> personal.prompt.k, personal.training
    (4, {})
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    prompt: PromptConfig
    training: dict[str, Any]


def save_model_folder(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: PromptConfig,
    training: dict[str, Any],
) -> None:
    """Write a model folder that appears only when complete; LoRA adapters are merged."""
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    with atomic_folder(folder) as partial:
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        (partial / _PROMPT_FILE).write_text(json.dumps(asdict(prompt), indent=2))
        (partial / _TRAINING_FILE).write_text(json.dumps(training, indent=1))
        write_card(partial, model.config, training, prompt)


def load_model_folder(
    name: str,
    base_prompt: PromptConfig | None = None,
    dtype: torch.dtype | None = None,
    quantization: Quantization | None = None,
) -> PersonalModel:
    """Load a trained folder, or any causal LM by name or folder as a Generator alone.

    The model goes to the accelerator if there is one.

    Args:
        name: a folder, a hub name or `smollm2-135m`.
        base_prompt: how to prompt a base model, which brings no settings of its own.
        dtype: of the weights in memory; default: as they were saved, where the hardware multiplies
            that natively, else float32 (see `choose_dtype`).
        quantization: round the linear layers while loading; a folder that was saved with rounded
            layers is loaded as it is.

    Raises:
        FlyThinkerError: no such folder, no weights in it, or a name that cannot be loaded.

    >>> import flythinker
    >>> flythinker.load("smollm2-135m").model.reasoner is None  # a base model: a Generator alone
    True
    """
    folder = Path(name)
    if folder.is_dir():
        _check_weights(folder)
    try:
        path = resolve_backbone(name)
        tokenizer = load_tokenizer(path)
        config = _read_json(path, "config.json")
        settings: dict[str, Any] = {"dtype": dtype or "auto"}
        if quantization is not None:
            settings["quantization_config"] = quantization_config(quantization, native_dtype())
        if config.get("model_type") == "flythinker":
            model = AutoModelForCausalLM.from_pretrained(path, **settings)
        else:
            model = FlyThinkerForCausalLM.from_generator_reasoner_pretrained(
                path, None, fusion_weight=0, **settings
            )
    except (OSError, ValueError, ImportError) as error:
        raise FlyThinkerError(f"cannot load the model {name}: {_first_line(error)}") from error
    keep_layout(model, training=False)
    # what bitsandbytes has rounded stays in its types, and where it was put
    if quantization is None and "quantization_config" not in config:
        chosen = choose_dtype(model.dtype, dtype, name)
        if chosen != model.dtype:
            model.to(chosen)
        if torch.accelerator.is_available():
            model.to(torch.accelerator.current_accelerator())
    prompt = read_prompt(path) or base_prompt or PromptConfig()
    return PersonalModel(model.eval(), tokenizer, prompt, read_training(path))


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a model, with the chat template that prompts are made with.

    It begins texts with BOS where its files say so in either way: by the tokenizer's own steps, or
    by `add_bos_token`. One without a padding token pads with EOS (masked everywhere). What is
    changed here is saved with a trained model. See `settled_template`.

    Raises:
        ValueError, OSError: there is none.
    """
    path = resolve_backbone(name)
    tokenizer = AutoTokenizer.from_pretrained(path)
    files = set(tokenizer.vocab_files_names.values())
    if Path(path).is_dir() and files and not any((Path(path) / file).exists() for file in files):
        # transformers makes an empty one of a config alone
        raise ValueError(f"{name} has no tokenizer: none of {', '.join(sorted(files))} is there")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    says_bos = _read_json(path, "tokenizer_config.json").get("add_bos_token")
    if says_bos and tokenizer.bos_token is not None and not first_ids(tokenizer):
        tokenizer.add_bos_token = True  # transformers 5 forgets it where there is a tokenizer.json
    tokenizer.chat_template = settled_template(tokenizer)
    return tokenizer


def read_prompt(name: str | Path) -> PromptConfig | None:
    """The prompt settings that a folder or hub model was trained with; `None` for a base model."""
    settings = _read_json(name, _PROMPT_FILE)
    return PromptConfig(**settings) if settings else None


def read_training(name: str | Path) -> dict[str, Any]:
    """What the run that made a model left: `log_history`, `steps`, `data`, `model`."""
    return _read_json(name, _TRAINING_FILE)


def _check_weights(folder: Path) -> None:
    if any(folder.glob("*.safetensors")) and (folder / "config.json").exists():
        return
    inner = folder / "model"
    hint = f"; did you mean {inner}?" if inner.is_dir() else "; has its training finished?"
    raise FlyThinkerError(f"{folder}: no model weights (config.json, *.safetensors) in it{hint}")


def _read_json(name: str | Path, file: str) -> dict[str, Any]:
    """A file of a folder or a hub model; empty where there is none."""
    try:
        path = cached_file(
            str(name),
            file,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
    except OSError:  # no such folder and no such hub model
        return {}
    return json.loads(Path(path).read_text()) if path else {}


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
