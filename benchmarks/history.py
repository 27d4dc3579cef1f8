"""The plot of configs/compare/history.yaml: held-out loss against the time to the first token.

python benchmarks/history.py results/history-sotu --out docs/images/history.png

Reads `report.json` and `efficiency.json`, which `flythinker ablate` has left there without and with
`--efficiency`, and writes the picture and, beside it, its numbers as JSON.
"""

import argparse
import json
from pathlib import Path
from statistics import median
from typing import Any

from flythinker.files import atomic_write

STUDY = "tokens of history"


def points(results: Path) -> dict[str, list[dict[str, Any]]]:
    """Of each method its points: tokens of history, loss with its interval, seconds."""
    report = json.loads((results / "report.json").read_text())
    entries = json.loads((results / "efficiency.json").read_text())["entries"]
    found: dict[str, list[dict[str, Any]]] = {}
    for line in report["studies"][STUDY]:
        for point in line["points"]:
            runs = entries.get(f"{line['method']}, {STUDY}: {point['point']}")
            if runs is None:
                continue
            seconds = [run["first_token_seconds"] for run in runs]
            found.setdefault(line["method"], []).append(
                {
                    "tokens": int(point["point"]),
                    "loss": point["value"],
                    "low": point["low"],
                    "high": point["high"],
                    "first_token_seconds": median(seconds),
                    "first_token_range": [min(seconds), max(seconds)],
                }
            )
    return found


def draw(found: dict[str, list[dict[str, Any]]], out: Path) -> None:
    """One line a method; each point says how many tokens of history it reads."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for method, line in found.items():
        seconds = [point["first_token_seconds"] for point in line]
        losses = [point["loss"] for point in line]
        spread = [
            [point["loss"] - point["low"] for point in line],
            [point["high"] - point["loss"] for point in line],
        ]
        axes.errorbar(seconds, losses, yerr=spread, marker="o", capsize=3, label=method)
        for point, x, y in zip(line, seconds, losses, strict=True):
            axes.annotate(str(point["tokens"]), (x, y), (4, 5), textcoords="offset points")
    axes.set(xlabel="seconds to the first token, prompt read anew", ylabel="held-out nats/token")
    axes.legend(title="labels: tokens of history")
    with atomic_write(out, binary=True) as file:
        figure.savefig(file, format=out.suffix.removeprefix("."), dpi=150)


def main() -> None:
    """Read, draw and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/images/history.png"))
    arguments = parser.parse_args()
    found = points(arguments.results)
    if not found:
        raise SystemExit(
            f"{arguments.results}: no point has both a loss and a time; run `flythinker ablate "
            "configs/compare/history.yaml` without and with --efficiency"
        )
    draw(found, arguments.out)
    with atomic_write(arguments.out.with_suffix(".json")) as file:
        json.dump(found, file, indent=1)


if __name__ == "__main__":
    main()
