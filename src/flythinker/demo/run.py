"""The demo: measure what things take here, plan, train both methods, write, judge, report."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from transformers import TrainerCallback, TrainerControl, TrainerState

from flythinker.bench.train import Stepper, without_reasoner
from flythinker.data.example import Example, read_examples, sample_examples, write_examples
from flythinker.data.prompt import Prompt, build_prompts
from flythinker.data.sotu import build_sotu
from flythinker.demo.plan import (
    BATCH,
    NEW_TOKENS,
    STEPS,
    VALIDATION,
    Costs,
    Plan,
    fit,
    fit_texts,
)
from flythinker.evaluation.evaluate import describe_environment, evaluate
from flythinker.files import atomic_write
from flythinker.generation.files import generate_file
from flythinker.generation.sampling import Sampling
from flythinker.generation.write import text_writer
from flythinker.model_folder import (
    PersonalModel,
    load_model_folder,
    load_tokenizer,
    read_training,
)
from flythinker.progress import part
from flythinker.reporting.report import results_table, write_report
from flythinker.training.config import RunConfig, load_config
from flythinker.training.run import Recipe, train
from flythinker.training.trainer import FlyThinkerTrainer

METHODS = {"SFT": "sft", "FlyThinker": "flythinker"}
"""What is compared, and its folder."""
_EXAMPLES = 300  # of each data file
_REST = 60.0  # seconds: loading, saving, metrics and report depend little on the processor
_TRIED_TOKENS = 6

Settings = Callable[[str, int], RunConfig]
"""How a method is trained, for so many steps."""


def run_demo(config: Path, out: Path, minutes: float, console: Console) -> Path:
    """Train SFT and FlyThinker as `config` says, judge both; returns the report's path.

    Everything is kept in `out`. A demo that was killed goes on there, by its first plan.

    Args:
        config: a training config; steps, files and `output_dir` are the demo's own.
        out: folder of data, models, texts and report.
        minutes: to be done in; how many steps and texts there are follows from it.
        console: where the plan and the results are shown.

    Raises:
        FlyThinkerError: see `train` and `build_sotu`.
    """
    begun = time.monotonic()
    end = begun + 60 * minutes
    build_data(out / "data")
    settings = partial(_settings, config, out)
    plan = _plan(out / "plan.json", minutes, end, settings, console)
    steps = train_both(plan, end, settings)
    examples = _judged(out / "data", fit_texts(plan.costs, end - time.monotonic(), plan.texts))
    outputs = {name: _write_texts(out / folder, examples) for name, folder in METHODS.items()}
    models = {name: str(out / folder / "model") for name, folder in METHODS.items()}
    results = evaluate(examples, models, outputs)
    took = {
        "time": f"{(time.monotonic() - begun) / 60:.1f} minutes up to this report, "
        f"of {minutes:g} given",
        "steps": ", ".join(f"{name} {n} of {plan.steps} planned" for name, n in steps.items()),
        "texts": f"{len(examples)} of {plan.texts} planned, of up to {NEW_TOKENS} tokens",
    }
    report = out / "report.html"
    environment = describe_environment() | took
    tokenizer = load_tokenizer(models["SFT"])
    shown = write_report(
        report, "FlyThinker demo", examples, results, "SFT", environment, tokenizer
    )
    console.print(results_table(shown["rows"]))
    for name, value in took.items():
        console.print(f"{name}: {value}", highlight=False)
    return report


def build_data(folder: Path) -> None:
    """The addresses of US presidents, unless they are there."""
    if (folder / "test.jsonl").exists():
        return
    for name, examples in build_sotu("temporal", 0).items():  # the test file is written last
        write_examples(folder / f"{name}.jsonl", sample_examples(examples, _EXAMPLES))


def _settings(config: Path, out: Path, name: str, steps: int) -> RunConfig:
    middle = -(-steps // 2)
    settings = load_config(
        config,
        [
            f"data.train={out}/data/train.jsonl",
            f"data.validation={out}/data/val.jsonl",
            f"data.max_validation={VALIDATION}",
            f"training.output_dir={out}/{METHODS[name]}",
            f"training.max_steps={steps}",
            f"training.eval_steps={middle}",
            f"training.save_steps={middle}",
        ],
    )
    return without_reasoner(settings) if name == "SFT" else settings


def _plan(file: Path, minutes: float, end: float, settings: Settings, console: Console) -> Plan:
    """Measure and plan, once: a demo that goes on keeps the plan that its trainings began with."""
    if file.exists():
        kept = json.loads(file.read_text())
        plan = Plan(**kept | {"costs": Costs(**kept["costs"])})
        console.print(f"Going on by the plan in {file} (remove its folder to plan anew).")
    else:
        console.print("Measuring a training step and a written token, to see what fits …")
        plan = fit(measure(settings), end - time.monotonic())
        with atomic_write(file) as handle:
            json.dump(asdict(plan), handle, indent=1)
    costs = plan.costs
    console.print(
        f"For SFT and FlyThinker together a training step takes {costs.step:.1f} s here, and a "
        f"token of {BATCH} texts at once {costs.token:.2f} s. Plan: {plan.steps} steps and "
        f"{plan.texts} texts each, {plan.seconds / 60:.0f} minutes.",
        highlight=False,
    )
    if plan.seconds > 60 * minutes:
        console.print(f"That is the least there is: it will take more than {minutes:g} minutes.")
    return plan


def measure(settings: Settings) -> Costs:
    """What things take here, from a few of each."""
    both = [_measure(settings(name, STEPS[1])) for name in METHODS]
    step, loss, token = (sum(seconds) for seconds in zip(*both, strict=True))
    return Costs(step, loss, token, _REST)


def _measure(config: RunConfig) -> tuple[float, float, float]:
    """Seconds of a training step, of a held-out loss and of a token of `BATCH` texts."""
    stepper = Stepper(config)
    trainer = stepper.trainer
    rows = sorted(trainer.train_dataset, key=lambda row: row["length"])
    typical = rows[len(rows) // 2]
    batch = stepper.padded([typical])
    _, *others = [stepper.seconds(batch) for _ in range(4)]  # the first does not count
    loss = _seconds(lambda: trainer.prediction_step(stepper.model, batch, True))
    prompt = Prompt(typical["input_ids"][: typical["prompt_length"]], [], ())
    model, tokenizer = stepper.model.eval(), trainer.processing_class
    token = _seconds_a_token(PersonalModel(model, tokenizer, config.prompt, {}), prompt)
    return median(others), loss, token


def _seconds_a_token(personal: PersonalModel, prompt: Prompt) -> float:
    """Of `BATCH` texts: the difference between a longer and a shorter writing.

    Texts join one by one, so the shorter is long enough for all of them to be in work at the end.
    """
    writer = text_writer(personal, BATCH)
    writer.write([prompt], Sampling(2))  # it has read the prompt then, and its kernels are warm

    def seconds(tokens: int) -> float:
        drawn = Sampling(tokens, min_new_tokens=tokens)
        return _seconds(lambda: writer.write([prompt] * BATCH, drawn))

    short = seconds(BATCH)
    return max(seconds(BATCH + _TRIED_TOKENS) - short, 0.0) / _TRIED_TOKENS


def _seconds(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def train_both(plan: Plan, end: float, settings: Settings) -> dict[str, int]:
    """Train SFT, then FlyThinker for as many steps; returns the steps that each took.

    Where steps turn out slower than measured, training ends early enough for the texts.
    """
    left = end - time.monotonic() - plan.costs.judging(plan.texts)
    steps, most = {}, plan.steps
    for name, share in (("SFT", 0.45), ("FlyThinker", 1.0)):
        stop = EndOfTime(time.monotonic() + share * left, most)
        with part(f"{name}: {most} steps"):
            folder = train(settings(name, plan.steps), recipe=Recipe(trainer=partial(_timed, stop)))
        steps[name] = most = read_training(folder)["steps"]
        left = end - time.monotonic() - plan.costs.judging(plan.texts)
    return steps


class EndOfTime(TrainerCallback):
    """Ends a training at a time (of `time.monotonic`) or after `most` steps, with its loss.

    The fewest steps that a plan may have are taken in any case.
    """

    def __init__(self, end: float, most: int) -> None:
        self.end, self.most = end, most

    def on_step_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Called by the Trainer."""
        late = time.monotonic() > self.end and state.global_step >= STEPS[0]
        if (late or state.global_step >= self.most) and state.global_step < state.max_steps:
            control.should_evaluate = control.should_training_stop = True


def _timed(stop: EndOfTime, **arguments: Any) -> FlyThinkerTrainer:
    trainer = FlyThinkerTrainer(**arguments)
    trainer.add_callback(stop)
    return trainer


def _judged(folder: Path, texts: int) -> list[Example]:
    """The test examples that are judged; a demo that goes on has chosen them before."""
    file = folder / "judged.jsonl"
    if not file.exists():
        write_examples(file, sample_examples(read_examples(folder / "test.jsonl"), texts))
    return read_examples(file)


def _write_texts(folder: Path, examples: list[Example]) -> Path:
    """The file of what a trained model writes, one text an example."""
    file = folder.with_suffix(".jsonl")
    if not file.exists():
        personal = load_model_folder(str(folder / "model"))
        prompts = build_prompts(examples, personal.tokenizer, personal.prompt)
        writer = text_writer(personal, BATCH)
        generate_file(prompts, writer.write_each, examples, file, Sampling(NEW_TOKENS))
    return file
