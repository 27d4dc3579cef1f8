"""The report's plots as inline SVG whose colours are the page's own (CSS variables).

matplotlib wants real colours, so each is drawn in a stand-in that is replaced by a CSS colour in
the SVG text; one drawing then serves the light and the dark theme.
"""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

SERIES = 10
"""How many colours the page has for methods; more methods start over."""

MARKERS = "os^Dv*PX."
"""The markers of a map's groups; the ninth, a dot, is for all the others."""

_TEXT, _LINES = "#fe0001", "#fe0002"
_CSS = {_TEXT: "currentColor", _LINES: "var(--line)"} | {
    f"#fe01{i:02x}": f"var(--series-{i})" for i in range(SERIES)
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: selectable, and in the page's font
    "font.size": 10.5,
    "text.color": _TEXT,
    "axes.labelcolor": _TEXT,
    "xtick.color": _TEXT,
    "ytick.color": _TEXT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "axes.edgecolor": _LINES,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": _LINES,
    "lines.solid_capstyle": "round",
}


def training_curves(histories: Sequence[list[dict[str, Any]]]) -> str:
    """SVG of training loss (thin, smoothed) and held-out loss (dots) over steps, by method."""
    with mpl.rc_context(_STYLE | {"svg.hashsalt": "training"}):
        figure, axes = _figure("training step", "nats/token")
        for i, history in enumerate(histories):
            steps, loss = points(history, "loss")
            axes.plot(steps, smoothed(loss), color=_series(i), linewidth=1.2, alpha=0.6)
            steps, loss = points(history, "eval_loss")
            axes.plot(steps, loss, color=_series(i), linewidth=1.8, marker="o", markersize=5)
        return _svg(figure)


def position_curves(curves: Sequence[list[dict[str, Any]]]) -> str:
    """SVG of `compare_positions`: loss of each segment with its 95 % interval, by method."""
    with mpl.rc_context(_STYLE | {"svg.hashsalt": "positions"}):
        figure, axes = _figure("response tokens", "nats/token")
        losses = [[s | {"value": s["mean"]} for s in curve] for curve in curves]
        _plot_intervals(axes, losses)
        _name_segments(axes, curves)
        return _svg(figure)


def segment_curves(curves: Sequence[list[dict[str, Any]]], metric: str) -> str:
    """Small SVG of one metric of `compare_segments` with its 95 % intervals, by method."""
    with mpl.rc_context(_STYLE | {"svg.hashsalt": f"segments-{metric}"}):
        figure, axes = _figure("response tokens", "", size=(3.7, 2.6))
        _plot_intervals(axes, [[segment["metrics"][metric] for segment in c] for c in curves])
        _name_segments(axes, curves)
        axes.set_ylim(bottom=0)
        return _svg(figure)


def point_curves(curves: Sequence[list[dict[str, Any]]], xlabel: str) -> str:
    """SVG of an ablation: `value` from `low` to `high` at each named `point`, by method."""
    with mpl.rc_context(_STYLE | {"svg.hashsalt": f"points-{xlabel}"}):
        figure, axes = _figure(xlabel, "nats/token")
        _plot_intervals(axes, curves)
        longest = max(curves, key=len)
        axes.set_xticks(range(len(longest)), [point["point"] for point in longest])
        return _svg(figure)


def curves(lines: Sequence[tuple[Sequence[float], Sequence[float]]], xlabel: str) -> str:
    """SVG of losses (nats/token) by what they cost: the x and y of each method's points."""
    with mpl.rc_context(_STYLE | {"svg.hashsalt": f"curves-{xlabel}"}):
        figure, axes = _figure(xlabel, "nats/token")
        for i, (x, y) in enumerate(lines):
            axes.plot(x, y, color=_series(i), linewidth=1.8, marker="o", markersize=4)
        return _svg(figure)


def frontier(places: Sequence[tuple[float, float]], best: Sequence[tuple[float, float]]) -> str:
    """SVG of loss (nats/token) by milliseconds a token: a dot a method, a step line by `best`."""
    with mpl.rc_context(_STYLE | {"svg.hashsalt": "frontier"}):
        figure, axes = _figure("ms a token", "nats/token")
        if best:
            axes.step(*zip(*best, strict=True), where="post", color=_LINES, linewidth=1.5)
        for i, (x, y) in enumerate(places):
            axes.plot(x, y, color=_series(i), marker="o", markersize=7, linestyle="")
        return _svg(figure)


def scatter(groups: Sequence[NDArray], name: str) -> str:
    """SVG of a map without axes: the points [n, 2] of up to `len(MARKERS)` groups.

    Each group has its own colour and marker, so that it can be told without colour. The colours
    are those from the second on; the last group, of all others, has the first, a grey.
    """
    with mpl.rc_context(_STYLE | {"svg.hashsalt": f"scatter-{name}", "axes.grid": False}):
        figure, axes = _figure("", "")
        axes.set_axis_off()
        for i, points in enumerate(groups):
            x, y, colour = points[:, 0], points[:, 1], _series((i + 1) % len(MARKERS))
            axes.scatter(x, y, s=22, marker=MARKERS[i], color=colour, linewidths=0)
        return _svg(figure)


def points(history: list[dict[str, Any]], key: str) -> tuple[list[int], list[float]]:
    """Steps and values of `key` in a Trainer's `log_history`."""
    entries = [entry for entry in history if key in entry]
    return [entry["step"] for entry in entries], [float(entry[key]) for entry in entries]


def smoothed(values: Sequence[float]) -> list[float]:
    """Mean over the last tenth of the values so far seen, at each of them."""
    window = max(1, len(values) // 10)
    return [float(np.mean(values[max(0, i + 1 - window) : i + 1])) for i in range(len(values))]


def _plot_intervals(axes: Axes, curves: Sequence[list[dict[str, Any]]]) -> None:
    """A line of each method through its `value`s, with bars from `low` to `high`."""
    for i, curve in enumerate(curves):
        # Side by side, so that the intervals of two methods do not cover each other.
        x = np.arange(len(curve)) + 0.09 * (i - (len(curves) - 1) / 2)
        value = np.array([point["value"] for point in curve])
        # where all scores are equal, rounding puts an end on the wrong side of the mean
        below = np.maximum(0, value - [point["low"] for point in curve])
        above = np.maximum(0, [point["high"] for point in curve] - value)
        axes.errorbar(
            x, value, [below, above], color=_series(i), linewidth=1.8, marker="o", markersize=5,
            elinewidth=1.2, capsize=2.5,
        )  # fmt: skip


def _name_segments(axes: Axes, curves: Sequence[list[dict[str, Any]]]) -> None:
    longest = max(curves, key=len)
    axes.set_xticks(range(len(longest)), [f"{s['start']}–{s['end']}" for s in longest])


def _figure(
    xlabel: str, ylabel: str, size: tuple[float, float] = (5.6, 3.5)
) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.set_axisbelow(True)
    return figure, axes


def _series(index: int) -> str:
    return f"#fe01{index % SERIES:02x}"


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    no_metadata = {"Creator": None, "Date": None, "Format": None, "Type": None}
    figure.savefig(buffer, format="svg", transparent=True, metadata=no_metadata)
    svg = buffer.getvalue()
    for stand_in, css in _CSS.items():
        svg = svg.replace(stand_in, css)
    return svg[svg.index("<svg") :]  # without the XML prolog, which HTML does not allow inside
