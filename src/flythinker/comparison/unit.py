"""Running one unit: train, measure, write. Each piece is kept as soon as it is measured."""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from flythinker.comparison.config import Comparison, Unit
from flythinker.data.example import Example
from flythinker.data.histories import swap_histories, without_histories
from flythinker.errors import FlyThinkerError
from flythinker.files import atomic_write
from flythinker.generation.files import generate_file
from flythinker.methods.base import Method
from flythinker.scoring import save_losses

OUTPUTS = "outputs.jsonl"
TRAINING = "training.json"
_SETTINGS = "settings.json"
# what may differ between two runs of a unit that measure the same
_INCIDENTAL = ("output_dir", "logging_steps", "save_steps", "save_total_limit", "disable_tqdm")


def losses_file(history: str) -> str:
    """Where the token losses with the user's "own", a "swapped" or "none" history are kept."""
    return f"losses-{history}.npz"


def run_unit(comparison: Comparison, unit: Unit, examples: Sequence[Example]) -> None:
    """Do what is still to do of a unit; a killed one goes on where it was.

    Raises:
        FlyThinkerError: the unit's results are there, but were measured with other settings.
    """
    results = comparison.results / unit.id
    _claim(results, _settings(comparison, unit, examples))
    if not missing_files(comparison, unit):
        return
    method = make_method(comparison, unit)
    method.train()
    with atomic_write(results / TRAINING) as file:
        json.dump(method.personal.training, file)
    given: dict[str, Callable[[], Sequence[Example]]] = {
        "own": lambda: examples,
        "swapped": lambda: swap_histories(examples),
        "none": lambda: without_histories(examples),
    }
    for history, read in given.items():
        wanted = [file for file in missing_files(comparison, unit) if _reads(file) == history]
        if not wanted:
            continue
        prompts = method.prompts(read())
        if losses_file(history) in wanted:
            losses = method.losses(prompts, comparison.section.loss_batch_size)
            save_losses(results / losses_file(history), losses)
        if OUTPUTS in wanted:
            generate_file(
                prompts,
                method.respond,
                examples,
                results / OUTPUTS,
                comparison.sampling(unit.seed),
                comparison.section.batch_size,
                f"Writing with {unit.label}",
            )
    if not comparison.section.keep_models:
        shutil.rmtree(method.folder, ignore_errors=True)


def missing_files(comparison: Comparison, unit: Unit) -> list[str]:
    """Names of the files that are still to be measured of a unit."""
    measure = comparison.section.measure
    files = [losses_file("own")] if "loss" in measure else []
    if "swap" in measure:
        files += [losses_file("swapped"), losses_file("none")]
    if "texts" in measure:
        files.append(OUTPUTS)
    return [file for file in files if not (comparison.results / unit.id / file).exists()]


def make_method(comparison: Comparison, unit: Unit) -> Method:
    """The unit's method, with its work folder in `training.output_dir`."""
    work = Path(comparison.config.training.output_dir)
    return unit.method(
        config=unit.config,
        folder=work / unit.id,
        shared=work / "shared",
        response_tokens=comparison.section.response_tokens,
        **unit.options,
    )


def _reads(file: str) -> str:
    return "own" if file == OUTPUTS else file.removeprefix("losses-").removesuffix(".npz")


def _settings(comparison: Comparison, unit: Unit, examples: Sequence[Example]) -> dict[str, Any]:
    """All that a unit's results depend on."""
    sections = {name: dict(values) for name, values in unit.written.items() if values is not None}
    for key in _INCIDENTAL:
        sections["training"].pop(key, None)
    digest = hashlib.sha256()
    for example in examples:
        digest.update(repr((example.user_id, example.query, example.target)).encode())
    section = comparison.section
    return {
        "method": unit.method.__name__,
        "options": unit.options,
        **sections,
        "test": section.test,
        "examples": len(examples),
        "examples_sha256": digest.hexdigest(),
        "response_tokens": section.response_tokens,
        "temperature": section.temperature,
        "top_p": section.top_p,
    }


def _claim(results: Path, settings: dict[str, Any]) -> None:
    """Note the settings beside the results, so that other ones are never mixed in."""
    file = results / _SETTINGS
    described = json.dumps(settings, indent=1)
    if file.exists():
        before = json.loads(file.read_text())
        if _without_auto(before, settings) == _without_auto(json.loads(described), settings):
            return
        keys = sorted(
            key for key in before.keys() | settings if before.get(key) != settings.get(key)
        )
        raise FlyThinkerError(
            f"{results} was measured with other settings ({', '.join(keys)} differ): choose "
            "another compare.results, or remove it"
        )
    with atomic_write(file) as handle:
        handle.write(described + "\n")


def _without_auto(recorded: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """What `recorded` says, but for `bf16` where `settings` leave it to the machine.

    So a comparison goes on elsewhere; each unit's training.json says what it was computed in.
    """
    if settings["training"].get("bf16", "auto") != "auto":
        return recorded
    training = {key: value for key, value in recorded["training"].items() if key != "bf16"}
    return recorded | {"training": training}
