"""Running one trial: train, measure, write. Each piece is kept as soon as it is measured."""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from flythinker.comparison.config import Comparison, Trial
from flythinker.data.example import Example
from flythinker.data.histories import swap_histories, without_histories
from flythinker.files import atomic_write
from flythinker.generation.files import generate_file
from flythinker.methods.base import Method
from flythinker.runs import claim
from flythinker.scoring.losses import response_characters, save_losses

OUTPUTS = "outputs.jsonl"
TRAINING = "training.json"
HISTORIES: dict[str, Callable[[Sequence[Example]], list[Example]]] = {
    "own": list,
    "swapped": swap_histories,
    "none": without_histories,
}
"""What a method is given to read, by name: texts are written with the user's own history only."""
# what may differ between two runs of a trial that measure the same
_INCIDENTAL = ("output_dir", "logging_steps", "save_steps", "save_total_limit", "disable_tqdm")


def losses_file(history: str) -> str:
    """Where the token losses with one of `HISTORIES` are kept."""
    return f"losses-{history}.npz"


def run_trial(comparison: Comparison, trial: Trial, examples: Sequence[Example]) -> None:
    """Do what is still to do of a trial; a killed one goes on where it was.

    Raises:
        FlyThinkerError: the trial's results are there, but were measured with other settings.
    """
    results = comparison.results / trial.id
    settings = _settings(comparison, trial, examples)
    advice = "choose another compare.results, or remove its folder"
    claim(results / "settings.json", settings, advice, counting=partial(_without_auto, settings))
    if not missing_files(comparison, trial):
        return
    method = make_method(comparison, trial)
    method.train()
    with atomic_write(results / TRAINING) as file:
        json.dump(method.personal.training, file)
    # "own" comes last, as its texts do: what writes them takes the model over
    for history, given in reversed(HISTORIES.items()):
        missing = missing_files(comparison, trial)
        write = history == "own" and OUTPUTS in missing
        if not write and losses_file(history) not in missing:
            continue
        prompts = method.prompts(given(examples))
        if losses_file(history) in missing:
            losses = method.losses(prompts, comparison.section.loss_batch_size)
            responses = [prompt.response_ids for prompt in prompts]
            characters = response_characters(responses, method.personal.tokenizer)
            save_losses(results / losses_file(history), losses, characters)
        if write:
            generate_file(
                prompts,
                method.write_each,
                examples,
                results / OUTPUTS,
                comparison.sampling(trial.seed),
                f"Writing with {trial.label}",
            )
    if not comparison.section.keep_models:
        shutil.rmtree(method.folder, ignore_errors=True)


def missing_files(comparison: Comparison, trial: Trial) -> list[str]:
    """Names of the files that are still to be measured of a trial."""
    files = {
        "loss": [losses_file("own")],
        "swap": [losses_file("swapped"), losses_file("none")],
        "texts": [OUTPUTS] if trial.method.writes else [],
    }
    wanted = [file for what in comparison.section.measure for file in files[what]]
    return [file for file in wanted if not (comparison.results / trial.id / file).exists()]


def make_method(comparison: Comparison, trial: Trial) -> Method:
    """The trial's method, with its work folder in `training.output_dir`."""
    work = Path(comparison.config.training.output_dir)
    return trial.method(
        config=trial.config,
        folder=work / trial.id,
        shared=work / "shared",
        response_tokens=comparison.section.response_tokens,
        slots=comparison.section.batch_size,
        **trial.options,
    )


def _settings(comparison: Comparison, trial: Trial, examples: Sequence[Example]) -> dict[str, Any]:
    """All that a trial's results depend on."""
    sections = {name: dict(values) for name, values in trial.written.items() if values is not None}
    for key in _INCIDENTAL:
        sections["training"].pop(key, None)
    digest = hashlib.sha256()
    for example in examples:
        digest.update(repr((example.user_id, example.query, example.target)).encode())
    section = comparison.section
    return {
        "method": trial.method.__name__,
        "options": trial.options,
        **sections,
        "test": section.test,
        "examples": len(examples),
        "examples_sha256": digest.hexdigest(),
        "response_tokens": section.response_tokens,
        "temperature": section.temperature,
        "top_p": section.top_p,
    }


def _without_auto(settings: dict[str, Any], recorded: dict[str, Any]) -> dict[str, Any]:
    """What `recorded` says, but for `bf16` where `settings` leave it to the machine.

    So a comparison goes on elsewhere; each trial's training.json says what it was computed in.
    """
    if (asked := settings["training"].get("bf16")) not in (None, "auto"):
        return recorded
    return recorded | {"training": recorded["training"] | {"bf16": asked}}
