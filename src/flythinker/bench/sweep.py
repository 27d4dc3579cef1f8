"""What a token costs along one axis at a time: prompt, text, batch, size of the Reasoner."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from transformers import AutoConfig

from flythinker.backbones.packaged import resolve_backbone
from flythinker.bench.decode import (
    DecodeSetting,
    make_writer,
    random_tokens,
    resolve,
    seconds_a_step,
)
from flythinker.bench.rounds import alternate, describe_machine, ratio
from flythinker.files import atomic_write

AXES: dict[str, tuple[int, ...]] = {
    "prompt tokens": (256, 512, 1024, 2048, 4096),
    "tokens written": (64, 256, 512, 1024),
    "texts at a time": (1, 2, 4, 8, 16),
    "Reasoner layers": (2, 4, 8, 16, 30),
}
"""Points of each axis; elsewhere the setting holds, with one text at its beginning.

A Reasoner with fewer layers has its own number as the last point.
"""


def bench_sweep(
    setting: DecodeSetting, axes: dict[str, tuple[int, ...]] = AXES
) -> dict[str, list[dict[str, Any]]]:
    """Measure FlyThinker and its Generator alone at every point of every axis.

    Returns by axis a list of points: `point`; `generator` and `flythinker`, median milliseconds of
    a step, in which every text grows by a token; `ratio`, a `Ratio` of the two, in alternating
    rounds.
    """
    setting = resolve(setting)
    layers = AutoConfig.from_pretrained(resolve_backbone(setting.reasoner)).num_hidden_layers
    cuts = dict.fromkeys(min(point, layers) for point in axes["Reasoner layers"])
    axes = axes | {"Reasoner layers": tuple(cuts)}
    return {
        axis: [_measure(setting, axis, point) for point in points] for axis, points in axes.items()
    }


def _measure(setting: DecodeSetting, axis: str, point: int) -> dict[str, Any]:
    texts = point if axis == "texts at a time" else 1
    read = setting.prompt_tokens
    if axis == "prompt tokens":
        read = point
    elif axis == "tokens written":
        read += point  # what comes after so long a text is timed
    if axis == "Reasoner layers":
        setting = replace(setting, reasoner_layers=point)
    vocabulary = AutoConfig.from_pretrained(resolve_backbone(setting.generator)).vocab_size
    prompts = [random_tokens(read, vocabulary, seed=text) for text in range(texts)]
    writers = {
        "generator": make_writer(setting, None, prompts),
        "flythinker": make_writer(setting, setting.reasoner, prompts),
    }
    contestants = {
        name: partial(seconds_a_step, writer, setting.new_tokens)
        for name, writer in writers.items()
    }
    seconds = alternate(contestants, setting.rounds)
    milliseconds = {name: 1000 * median(each) for name, each in seconds.items()}
    return {
        "point": point,
        **milliseconds,
        "ratio": ratio(seconds["flythinker"], seconds["generator"]),
    }


def draw_sweep(sweep: dict[str, list[dict[str, Any]]], out: Path) -> None:
    """A picture with a panel an axis: milliseconds a step, and the ratio written at each point."""
    style: dict[Any, Any] = {"axes.spines.top": False, "axes.spines.right": False, "font.size": 9.5}
    with mpl.rc_context(style):
        figure = Figure(figsize=(9, 6.4), layout="constrained")
        for axes, (axis, points) in zip(figure.subplots(2, 2).flat, sweep.items(), strict=False):
            places = range(len(points))
            for name, colour in (("generator", "#8a8f98"), ("flythinker", "#b4531f")):
                values = [point[name] for point in points]
                axes.plot(places, values, color=colour, marker="o", markersize=4, label=name)
            for place, point in zip(places, points, strict=True):
                label = f"{point['ratio'].value:.2f}"
                above = (place, point["flythinker"])
                axes.annotate(
                    label, above, (0, 6), textcoords="offset points", ha="center", fontsize=8.5
                )
            axes.set_xticks(places, [str(point["point"]) for point in points])
            axes.set_xlabel(axis)
            axes.set_ylim(bottom=0, top=1.15 * axes.get_ylim()[1])
        figure.axes[0].set_ylabel("ms a step")
        figure.axes[2].set_ylabel("ms a step")
        figure.axes[0].legend(frameon=False, labels=["Generator alone", "FlyThinker"])
        machine = describe_machine()
        figure.suptitle(
            f"{machine['machine']}, {machine['threads']} threads; numbers: FlyThinker ÷ Generator",
            fontsize=9.5,
        )
        with atomic_write(out, binary=True) as file:
            figure.savefig(file, format=out.suffix.removeprefix("."), dpi=110)
