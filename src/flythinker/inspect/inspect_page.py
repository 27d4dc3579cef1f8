"""The page of an inspection: coloured tokens, what their thoughts are near, and the map by user."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from flythinker.data.example import Example
from flythinker.files import atomic_write
from flythinker.inspect.inspection import Inspection, SeenToken
from flythinker.inspect.thought_map import Separation, ThoughtMap
from flythinker.reporting.format import MINUS
from flythinker.reporting.page import Cell, Table, facts
from flythinker.reporting.templates import template

TOP = 20
"""How many tokens the table shows."""

_SHADE = 45  # per cent of the hue behind a token of the largest effect: text stays legible


def write_inspection(
    path: str | Path,
    example: Example,
    inspection: Inspection,
    thought_map: ThoughtMap | None,
    settings: Mapping[str, object],
) -> dict[str, Any]:
    """Write the page, one self-contained file that appears only once complete.

    `settings` are shown as given (the model's, the data's), after how the numbers were computed.

    Returns JSON-able `user`, `query`, `page`, the fields of the inspection, and the numbers of the
    `map` (None without one).
    """
    tokens = inspection.tokens
    scale = colour_scale([token.kl for token in tokens])
    view = {
        "title": f"Thoughts in a text by {example.user_id}",
        "example": example,
        "inspection": inspection,
        "tokens": tokens,
        "shades": [shade(token.kl, scale) for token in tokens],
        "scale": scale,
        "largest_shade": _SHADE,
        "largest": _largest(tokens),
        "entered": sum(token.thought for token in tokens),
        "nats_with": np.mean([token.nats for token in tokens]),
        "nats_without": np.mean([token.nats_without for token in tokens]),
        "map": thought_map,
        "map_numbers": thought_map and _numbers(thought_map.numbers),
        "settings": facts("This page", settings),
        "visible": visible,
        "code": _code,
        "near": _near,
        "nats": _nats,
        "effect": _effect,
    }
    with atomic_write(path) as file:
        file.write(template("inspect/inspect.html.j2").render(view))
    numbers = [asdict(row) for row in thought_map.numbers] if thought_map else None
    shown = {"user": example.user_id, "query": example.query, "page": str(path)}
    return shown | asdict(inspection) | {"map": numbers}


def colour_scale(effects: Sequence[float]) -> float:
    """The effect of the darkest colour: the 98th percentile, so that one outlier hides nothing."""
    return float(np.quantile(effects, 0.98)) or max(effects)


def shade(effect: float, scale: float) -> int:
    """Per cent of the hue behind a token: grows with the root, as most effects are small."""
    return round(_SHADE * sqrt(min(effect / scale, 1))) if scale else 0


def visible(text: str) -> str:
    """A token's text with signs for what would not be seen: line ends, tabs, nothing at all."""
    if not text:
        return "⋯"
    if text.isspace() and "\n" not in text and "\t" not in text:
        return "␣" * len(text)
    return text.replace("\t", "⇥\t").replace("\n", "↵\n")


def _largest(tokens: Sequence[SeenToken]) -> Table | None:
    """The tokens of the largest effects; None where there is no effect."""
    order = sorted(range(len(tokens)), key=lambda i: -tokens[i].kl)
    rows = [
        (
            _code(tokens[i].text),
            [
                Cell(str(i + 1)),
                Cell(_effect(tokens[i].kl)),
                Cell(_nats(tokens[i].nats)),
                Cell(_nats(tokens[i].nats_without)),
                Cell(_nats(tokens[i].nats - tokens[i].nats_without, "+")),
                Cell(_near(tokens[i].words)),
            ],
        )
        for i in order[:TOP]
        if tokens[i].kl > 0
    ]
    columns = ["Token", "#", "KL, nats", "With, nats", "Without", "Difference", "Thought is near"]
    notes = ["Difference below 0: the thought made the real token likelier."]
    return Table(columns, rows, notes=notes) if rows else None


def _numbers(rows: Sequence[Separation]) -> Table:
    """How far users lie apart, a row for each map."""
    columns = ["Points", "Nearest of another text is the same user's", "By chance", "p"]
    columns += ["Silhouette", "Number", "Users"]

    def cells(row: Separation) -> list[Cell]:
        if row.accuracy is None or row.chance is None or row.silhouette is None:
            shown = ["–"] * 4
        else:
            shown = [f"{100 * row.accuracy:.1f} %", f"{100 * row.chance:.1f} %"]
            shown += [f"{row.p_value:.3f}", _nats(row.silhouette, "+")]
        return [Cell(text) for text in (*shown, str(row.n_points), str(row.n_users))]

    return Table(columns, [(row.name, cells(row)) for row in rows])


def _code(text: str) -> Markup:
    return Markup("<code>{}</code>").format(visible(text))


def _near(words: Sequence[str]) -> Markup:
    return Markup(" ").join(map(_code, words)) or Markup("–")


def _nats(value: float, sign: str = "") -> str:
    return f"{value:{sign}z.3f}".replace("-", MINUS)


def _effect(kl: float) -> str:
    return f"{kl:.2g}" if kl else "0"
