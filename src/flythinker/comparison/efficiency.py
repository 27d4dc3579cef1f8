"""What each entry costs, side by side in one run: training, memory, latency, cache."""

import json
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import torch

from flythinker.comparison.config import Comparison, Trial
from flythinker.data.example import Example
from flythinker.data.prompt import Prompt
from flythinker.evaluation.evaluate import describe_environment
from flythinker.files import atomic_write
from flythinker.generation.batch_writer import prompt_batch
from flythinker.generation.sampling import Sampling
from flythinker.memory import peak_gigabytes
from flythinker.methods.base import Method
from flythinker.model.cache import FlyThinkerCache
from flythinker.model_folder import PersonalModel
from flythinker.progress import track
from flythinker.reporting.page import Cell, Section, Table
from flythinker.training.summary import training_seconds

STEPS = 8
"""Training steps that are timed."""
NEW_TOKENS = 32
"""Tokens over which the time per token is taken."""
PROMPTS = 5
"""The first examples, whose prompts are answered one at a time."""

_FILE = "efficiency.json"
_COLUMNS = {
    "train_seconds": "Training, s/example",
    "train_gigabytes": "Peak memory in training, GB",
    "first_token_seconds": "First token, s",
    "token_milliseconds": "Per token, ms",
    "cache_megabytes": "Cache of the prompt, MB",
}

_NOTE = (
    "Medians and range of {rounds} rounds in one run, every entry once a round in a process of its "
    f"own: {STEPS} training steps as configured (without preparing the examples), then the first "
    f"{PROMPTS} examples one at a time: time to the first token of the response, whatever is "
    f"written before it included, and per token over the {NEW_TOKENS} after it."
)


def measure_efficiency(
    comparison: Comparison, examples: Sequence[Example], rounds: int = 3
) -> dict[str, Any]:
    """Measure every entry that writes `rounds` times, in turn, each time in a process of its own.

    Training is `STEPS` optimizer steps of the entry's own settings; latency is that of one request
    at a time over the first examples. Keeps `efficiency.json` in the results folder after each
    round and goes on where it was.

    Returns the file's data: `note`, `columns` (titles by key), `environment` and `entries`: by
    label, one dict of figures per round.
    """
    path = comparison.results / _FILE
    writing = [trial for trial in comparison.trials if trial.method.writes]
    entries = {trial.name: trial for trial in reversed(writing)}
    trials = [trial for trial in writing if entries[trial.name] is trial]
    data = read_efficiency(comparison) or {"entries": {}}
    data |= {
        "columns": {key: {"title": title} for key, title in _COLUMNS.items()},
        "environment": describe_environment(),
    }
    todo = [
        trial
        for done in range(rounds)
        for trial in trials
        if len(data["entries"].get(trial.label, [])) <= done
    ]
    for trial in track(todo, "Efficiency"):
        # a fresh process: the peak memory of one is not another's
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            figures = pool.submit(
                _measure, trial, comparison.section.response_tokens, examples[:PROMPTS]
            )
            data["entries"].setdefault(trial.label, []).append(figures.result())
        done = [len(data["entries"].get(trial.label, [])) for trial in trials]
        data["note"] = _NOTE.format(rounds=min(done) or "unfinished")
        with atomic_write(path) as file:
            json.dump(data, file, indent=1)
    return data


def read_efficiency(comparison: Comparison) -> dict[str, Any] | None:
    """What `measure_efficiency` returned last; None where it was not run."""
    path = comparison.results / _FILE
    return json.loads(path.read_text()) if path.exists() else None


def efficiency_section(data: dict[str, Any]) -> Section:
    """`measure_efficiency`'s data as a part of a report."""
    columns = {key: column["title"] for key, column in data["columns"].items()}
    lines = []
    for label, runs in data["entries"].items():
        cells = []
        for key in columns:
            values = [run[key] for run in runs if run.get(key) is not None]
            spread = f"{min(values):.3g} to {max(values):.3g}" if len(values) > 1 else ""
            cells.append(Cell(f"{median(values):.3g}" if values else "–", spread))
        lines.append((label, cells))
    return Section("Efficiency", data["note"], [Table(["", *columns.values()], lines)])


def _measure(
    trial: Trial, response_tokens: int, examples: Sequence[Example]
) -> dict[str, float | None]:
    with tempfile.TemporaryDirectory() as folder:
        method = _short(trial, Path(folder), response_tokens)
        with open(os.devnull, "w") as quiet, redirect_stdout(quiet), redirect_stderr(quiet):
            method.train()  # its bars have no place inside a bar
        figures: dict[str, float | None] = {"train_seconds": None, "train_gigabytes": None}
        if trial.method.trains:
            rows = trial.config.training.train_batch_size
            rows *= trial.config.training.gradient_accumulation_steps
            training = method.personal.training
            seconds = training_seconds(training["log_history"])
            figures["train_seconds"] = seconds / training["steps"] / rows
            figures["train_gigabytes"] = peak_gigabytes()
        prompts = method.prompts(examples)
        return figures | _latency(method, prompts) | _cache(method.personal, prompts)


def _short(trial: Trial, folder: Path, response_tokens: int) -> Method:
    """The trial's method with a training of `STEPS` steps and no more examples than that needs."""
    training = trial.config.training
    training.max_steps = STEPS
    training.save_strategy = training.eval_strategy = "no"
    needed = STEPS * training.train_batch_size * training.gradient_accumulation_steps
    config = replace(trial.config, data=replace(trial.config.data, max_train=needed))
    return trial.method(
        config, folder / "own", folder / "shared", response_tokens, slots=1, **trial.options
    )


def _latency(method: Method, prompts: Sequence[Prompt]) -> dict[str, float]:
    """Seconds to the first token and milliseconds for each one after, medians over prompts."""

    def seconds(prompt: Prompt, tokens: int) -> float:
        begun = time.perf_counter()
        method.respond([prompt], Sampling(tokens, temperature=0, min_new_tokens=tokens))
        return time.perf_counter() - begun

    method.respond(prompts[:1], Sampling(2))  # warm up
    first = [seconds(prompt, 1) for prompt in prompts]
    whole = [seconds(prompt, 1 + NEW_TOKENS) for prompt in prompts]
    each = [(long - short) / NEW_TOKENS for short, long in zip(first, whole, strict=True)]
    return {"first_token_seconds": median(first), "token_milliseconds": 1000 * median(each)}


@torch.inference_mode()
def _cache(personal: PersonalModel, prompts: Sequence[Prompt]) -> dict[str, float]:
    """Megabytes that the cache of a read prompt holds: keys, values and thoughts of both parts."""
    sizes = []
    for prompt in prompts:
        cache = FlyThinkerCache(personal.model.config)
        personal.model(
            **prompt_batch(personal, [prompt]),
            prompt_length=torch.tensor([len(prompt.prompt_ids)]),
            cache=cache,
            logits_to_keep=1,
        )
        kept = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
        kept.append(cache.thoughts)
        sizes.append(sum(t.numel() * t.element_size() for t in kept if t is not None))
    return {"cache_megabytes": median(sizes) / 1e6}
