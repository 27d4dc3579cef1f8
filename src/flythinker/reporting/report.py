"""The report of an evaluation: one self-contained HTML file, the same in Markdown, and a table."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text
from transformers import PreTrainedTokenizerBase

from flythinker.data.example import Example
from flythinker.data.words import count_words
from flythinker.evaluation.compare import METRICS, MethodResult, compare, compare_positions
from flythinker.evaluation.evaluate import describe_environment
from flythinker.evaluation.segments import compare_segments
from flythinker.model_folder import load_tokenizer
from flythinker.reporting import plots
from flythinker.reporting.format import ARROWS, COLOURS, format_change, format_value
from flythinker.reporting.page import write_page
from flythinker.reporting.sections import findings, report_sections
from flythinker.scoring.tokenizers import tokenizers_of


def write_report(
    path_html: str | Path,
    title: str,
    examples: Sequence[Example],
    results: Sequence[MethodResult],
    baseline: str,
    environment: dict[str, str],
    tokenizer: PreTrainedTokenizerBase | None = None,
    bert_model: str | None = None,
) -> dict[str, Any]:
    """Compare `results` on `examples` and write `path_html` and the same name with `.md`.

    `environment` is shown as given (hardware, versions, seeds, …), after the date. A method
    without losses, predictions or training history is left out of the sections about them.
    `tokenizer` cuts the texts in segments; without it no text metric is shown along the text.
    `bert_model` is the encoder of BERTScore, see `text_metrics`.

    Returns the data shown, JSON-able: `title`, `baseline`, `environment`, `data`, `rows` (see
    `compare`), `loss_by_position` (see `compare_positions`), `segments` (see `compare_segments`)
    and `training` (by method name).
    Raises `FlyThinkerError` as `compare` does; nothing is written then.
    """
    references = [example.target for example in examples]
    rows = compare(results, references, baseline, bert_model)
    curves = compare_positions(results, baseline)
    segments = (
        {}
        if tokenizer is None
        else compare_segments(results, references, baseline, tokenizer, bert_model=bert_model)
    )
    trained = {result.name: result.training for result in results if result.training}
    data: dict[str, Any] = {
        "title": title,
        "baseline": baseline,
        "environment": {"date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"} | environment,
        "data": _describe(examples),
        "rows": rows,
        "loss_by_position": curves,
        "segments": segments,
        "training": {name: _training_summary(history) for name, history in trained.items()},
    }
    about = data["data"]
    subtitle = (
        f"{about['examples']} held-out texts by {about['users']} users · "
        f"{data['environment']['date']}"
    )
    sections = report_sections(data, examples, results, bert_model)
    write_page(Path(path_html), title, subtitle, sections, findings(data))
    return data


def report_results(
    examples: Sequence[Example],
    results: Sequence[MethodResult],
    baseline: str | None,
    path_html: Path | None,
    title: str,
    models: Mapping[str, str],
) -> dict[str, Any]:
    """Write a report of what `evaluate` measured, or without a path only compare.

    The default of `baseline` is the first result. The texts are cut in segments as the first of
    `models` (name → folder) reads them.

    Returns what `write_report` does, and without a path its `baseline`, `rows` and
    `loss_by_position`.
    """
    baseline = baseline or results[0].name
    if path_html is None:
        rows = compare(results, [example.target for example in examples], baseline)
        curves = compare_positions(results, baseline)
        return {"baseline": baseline, "rows": rows, "loss_by_position": curves}
    tokenizer = load_tokenizer(next(iter(models.values()))) if models else None
    environment = describe_environment()
    return write_report(path_html, title, examples, results, baseline, environment, tokenizer)


def results_table(rows: Sequence[dict[str, Any]]) -> Table:
    """The rows of `compare` for the terminal: a line per metric, a column per method."""
    table = Table()
    table.add_column("")
    for row in rows:
        table.add_column(Text(row["name"]), justify="right")
    if len(rows) > 1:
        baseline = next(row["name"] for row in rows if row["is_baseline"])
        table.caption = Text(f"✓ better, ✗ worse, ≈ unclear against {baseline} (95 %)")
    for key, metric in METRICS.items():
        if not any(key in row["metrics"] for row in rows):
            continue
        cells = [_terminal_cell(key, row["metrics"].get(key)) for row in rows]
        table.add_row(
            Text.assemble(metric.label, (f" {ARROWS[metric.better]}\n{metric.unit}", "dim")), *cells
        )
    return table


def _terminal_cell(key: str, cell: dict[str, Any] | None) -> Text:
    if cell is None:
        return Text("–", style="dim")
    text = Text(format_value(cell["value"], key), style="bold")
    if cell["difference"] is not None:
        verdict = cell["verdict"]
        change = format_change(cell["difference"], key, verdict)
        text.append(f"\n{change}", style=f"not bold {COLOURS[verdict]}")
    return text


def _describe(examples: Sequence[Example]) -> dict[str, str]:
    targets = [example.target for example in examples]
    lengths = [count_words(target) for target in targets]
    return {
        "examples": str(len(examples)),
        "users": str(len({example.user_id for example in examples})),
        "words per target": f"{mean(lengths):.0f} on average, {min(lengths)} to {max(lengths)}",
        "words divided by": tokenizers_of(targets),
        "earlier texts per user": f"{mean(len(e.history) for e in examples):.1f} on average",
    }


def _training_summary(history: list[dict[str, Any]]) -> dict[str, float | int | None]:
    """First and last (smoothed) training loss, and the best held-out loss with its step."""
    steps, loss = plots.points(history, "loss")
    eval_steps, eval_loss = plots.points(history, "eval_loss")
    best = int(np.argmin(eval_loss)) if eval_loss else None
    return {
        "steps": max(steps + eval_steps, default=0),
        "first_loss": loss[0] if loss else None,
        "last_loss": plots.smoothed(loss)[-1] if loss else None,
        "best_eval_loss": None if best is None else eval_loss[best],
        "best_eval_step": None if best is None else eval_steps[best],
    }
