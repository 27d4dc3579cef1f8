"""The page of an inspection: coloured tokens, what their thoughts are near, and the map by user."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np

from flythinker.data.example import Example
from flythinker.files import atomic_write
from flythinker.inspect.inspection import Inspection
from flythinker.inspect.thought_map import ThoughtMap
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
    order = sorted(range(len(tokens)), key=lambda i: -tokens[i].kl)
    view = {
        "example": example,
        "inspection": inspection,
        "tokens": tokens,
        "shades": [shade(token.kl, scale) for token in tokens],
        "scale": scale,
        "largest_shade": _SHADE,
        "top": [(i, tokens[i]) for i in order[:TOP] if tokens[i].kl > 0],
        "entered": sum(token.thought for token in tokens),
        "nats_with": np.mean([token.nats for token in tokens]),
        "nats_without": np.mean([token.nats_without for token in tokens]),
        "map": thought_map,
        "settings": settings,
    }
    with atomic_write(path) as file:
        file.write(template("inspect/inspect.html.j2").render(view, visible=visible))
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
