"""The report of an evaluation: one self-contained HTML file, the same in Markdown, and a table."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from markupsafe import Markup
from rich.table import Table
from rich.text import Text
from transformers import PreTrainedTokenizerBase

from flythinker.data.example import Example
from flythinker.evaluation.compare import (
    METRICS,
    MIN_EXAMPLES,
    MethodResult,
    compare,
    compare_positions,
)
from flythinker.evaluation.evaluate import describe_environment
from flythinker.evaluation.segments import SEGMENT_METRICS, compare_segments
from flythinker.files import atomic_write
from flythinker.model_folder import load_tokenizer
from flythinker.reporting import plots
from flythinker.reporting.templates import template
from flythinker.scoring.bertscore import bertscore_default
from flythinker.scoring.metrics import meteor_stages

SIGNS = {"better": "✓", "worse": "✗", "unclear": "≈", "neutral": ""}
ARROWS = {"lower": "↓", "higher": "↑", None: ""}
COLOURS = {"better": "green", "worse": "red", "unclear": "dim", "neutral": "dim"}
MINUS = "−"


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
    along = _segment_metrics(segments)
    trained = {result.name: result.training for result in results if result.training}
    data = {
        "title": title,
        "baseline": baseline,
        "environment": {"date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"} | environment,
        "data": _describe(examples),
        "rows": rows,
        "loss_by_position": curves,
        "segments": segments,
        "training": {name: _training_summary(history) for name, history in trained.items()},
    }
    view = data | {
        "results": results,
        "metrics": {k: m for k, m in METRICS.items() if any(k in row["metrics"] for row in rows)},
        "samples": _samples(examples, results),
        "settings": _settings(results),
        "colour": {result.name: i % plots.SERIES for i, result in enumerate(results)},
        "segment_metrics": along,
        "meteor_stages": meteor_stages(),
        "signs": SIGNS,
        "arrows": ARROWS,
        "min_examples": MIN_EXAMPLES,
        "format_value": format_value,
        "format_difference": format_difference,
        "format_interval": format_interval,
        "bert_model": bert_model or ("all-MiniLM-L6-v2" if bertscore_default() else None),
    }
    # Every method keeps its colour in every plot, so all are handed over, the empty ones too.
    figures = {
        "training_svg": Markup(plots.training_curves([r.training for r in results])),
        "position_svg": Markup(plots.position_curves([curves.get(r.name, []) for r in results])),
        "segment_svg": {
            metric: Markup(
                plots.segment_curves([segments.get(r.name, []) for r in results], metric)
            )
            for metric in along
        },
    }
    html = template("reporting/report.html.j2").render(view, **figures)
    markdown = template("reporting/report.md.j2").render(view)
    for path, text in ((Path(path_html), html), (Path(path_html).with_suffix(".md"), markdown)):
        with atomic_write(path) as file:
            file.write(text)
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


def format_value(value: float, key: str) -> str:
    """A metric's value with its usual number of decimals and a real minus sign."""
    return f"{value:z.{METRICS[key].decimals}f}".replace("-", MINUS)


def format_difference(difference: dict[str, float], key: str) -> str:
    """A difference with its sign, such as `−0.04`."""
    return f"{difference['difference']:+z.{METRICS[key].decimals}f}".replace("-", MINUS)


def format_interval(interval: dict[str, float], key: str) -> str:
    """The `low` and `high` of an estimate or a difference, such as `[−0.07, −0.02]`."""
    return f"[{format_value(interval['low'], key)}, {format_value(interval['high'], key)}]"


def _terminal_cell(key: str, cell: dict[str, Any] | None) -> Text:
    if cell is None:
        return Text("–", style="dim")
    text = Text(format_value(cell["value"], key), style="bold")
    if cell["difference"] is not None:
        verdict = cell["verdict"]
        change = format_difference(cell["difference"], key)
        interval = format_interval(cell["difference"], key)
        line = f"\n{change} {interval} {SIGNS[verdict]}".rstrip()
        text.append(line, style=f"not bold {COLOURS[verdict]}")
    return text


def _describe(examples: Sequence[Example]) -> dict[str, str]:
    lengths = [len(example.target.split()) for example in examples]
    return {
        "examples": str(len(examples)),
        "users": str(len({example.user_id for example in examples})),
        "words per target": f"{mean(lengths):.0f} on average, {min(lengths)} to {max(lengths)}",
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


def _segment_metrics(segments: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Which of `SEGMENT_METRICS` were measured."""
    rows = next(iter(segments.values()), [])
    return [metric for metric in SEGMENT_METRICS if rows and metric in rows[0]["metrics"]]


def choose_examples(examples: Sequence[Example], count: int = 3) -> list[int]:
    """Indices of `count` examples, of different users where there are enough, evenly spread.

    Looks at no output, so nobody's best (or worst) text is picked.
    """
    first_of_user = {example.user_id: i for i, example in reversed(list(enumerate(examples)))}
    pool = sorted(first_of_user.values())
    if len(pool) < count:
        pool = list(range(len(examples)))
    spread = np.linspace(0, len(pool) - 1, min(count, len(pool)))
    return [pool[round(position)] for position in spread]


def _samples(examples: Sequence[Example], results: Sequence[MethodResult]) -> list[dict[str, Any]]:
    written = {r.name: r.predictions for r in results if r.predictions is not None}
    if not written:
        return []
    return [
        {
            "example": examples[i],
            "texts": {name: predictions[i] for name, predictions in written.items()},
        }
        for i in choose_examples(examples)
    ]


def _settings(results: Sequence[MethodResult]) -> dict[str, list[str]]:
    """Setting name -> its value for each method, in the methods' order."""
    names = dict.fromkeys(name for result in results for name in result.settings)
    return {name: [str(result.settings.get(name, "–")) for result in results] for name in names}
