"""A decode step with both parts at the same time, against one after the other."""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from flythinker.bench.decode import (
    DecodeSetting,
    make_writer,
    random_tokens,
    resolve,
    seconds_a_step,
)
from flythinker.bench.rounds import alternate, describe_machine, ratio
from flythinker.generation.parallel import Mode
from flythinker.model_folder import load_tokenizer

BATCHES = (1, 8, 32)


def measure(setting: DecodeSetting, vocab: int) -> dict[str, Any]:
    """Seconds of a step of FlyThinker in either way and of its Generator alone, by batch size."""
    figures: dict[str, Any] = {"setting": vars(setting), "environment": describe_machine()}
    prompt = random_tokens(setting.prompt_tokens, vocab)
    ways: dict[str, tuple[str | None, Mode]] = {
        "alone": (None, "off"),
        "together": (setting.reasoner, "on"),
        "in turn": (setting.reasoner, "off"),
    }
    for batch in BATCHES:
        contestants: dict[str, Callable[[], float]] = {}
        for name, (reasoner, parallel) in ways.items():
            writer = make_writer(setting, reasoner, [prompt] * batch, parallel=parallel)
            contestants[name] = partial(seconds_a_step, writer, setting.new_tokens)
        seconds = alternate(contestants, setting.rounds)
        figures[f"batch {batch}"] = {
            "together_vs_in_turn": asdict(ratio(seconds["together"], seconds["in turn"])),
            "together_vs_alone": asdict(ratio(seconds["together"], seconds["alone"])),
            "seconds": seconds,
        }
    return figures


def main() -> None:
    """Measure the two models given, of one vocabulary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--generator", required=True)
    parser.add_argument("--reasoner", required=True)
    parser.add_argument("--tiny", action="store_true", help="only try it: few tokens, one round")
    arguments = parser.parse_args()
    models = (arguments.generator, arguments.reasoner, None)
    setting = resolve(DecodeSetting(*models))
    if arguments.tiny:
        setting = replace(setting, prompt_tokens=16, new_tokens=2, rounds=1)
    vocab = len(load_tokenizer(arguments.generator))
    figures = measure(setting, vocab)
    (arguments.out / "streams.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
