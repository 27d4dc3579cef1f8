"""What persons' adapters cost beside each other: tokens a second with and without (docs/adapt.md).

python benchmarks/adapters.py --out results/performance/adapters.json
"""

import json
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
from rich.console import Console

from flythinker.adapter import Adapter, Part, load_adapter, save_adapter
from flythinker.bench.decode import DecodeSetting, random_tokens, resolve, seconds_a_step
from flythinker.bench.persons import random_adapter
from flythinker.bench.rounds import alternate, as_json, describe_machine, figures_table, ratio
from flythinker.data.prompt import Prompt, PromptConfig
from flythinker.files import atomic_write
from flythinker.generation.sampling import Sampling
from flythinker.generation.writer import Writer
from flythinker.hardware import as_dtype
from flythinker.model import FlyThinkerForCausalLM
from flythinker.model_folder import PersonalModel, load_tokenizer

CLOCK = time.process_time  # what else a shared machine does takes no time of ours
STEPS = 8  # a measurement
STREAMED = 1.5  # times as many texts go through in turn
ENDLESS = Sampling(10**6, temperature=0, min_new_tokens=10**6)


def main(
    backbone: Annotated[str, typer.Option(help="Generator and Reasoner.")] = "smollm2-135m",
    reasoner_layers: Annotated[int, typer.Option(help="Of the Reasoner.")] = 8,
    texts: Annotated[int, typer.Option(help="At the same time.")] = 32,
    persons: Annotated[int, typer.Option(help="Of them, each with an adapter.")] = 16,
    rank: Annotated[int, typer.Option(help="Of the adapters.")] = 8,
    prompt_tokens: Annotated[int, typer.Option(help="Of each text.")] = 64,
    rounds: Annotated[int, typer.Option(help="That are measured.")] = 3,
    out: Annotated[Path | None, typer.Option(help="JSON file to write.")] = None,
) -> None:
    """Steps of all texts, and a stream of texts that join and leave, in alternating rounds.

    Seconds are those of the processor, by one thread (OMP_NUM_THREADS=1) those of a quiet machine.
    Adapters are random numbers: what they say changes nothing of what they cost.
    """
    setting = resolve(
        DecodeSetting(
            backbone, backbone, reasoner_layers, prompt_tokens=prompt_tokens, rounds=rounds
        )
    )
    model = FlyThinkerForCausalLM.from_generator_reasoner_pretrained(
        backbone,
        backbone,
        projection="linear",
        reasoner_layers=reasoner_layers,
        dtype=as_dtype(setting.dtype),
    )
    adapters: dict[str, list[Adapter | None]] = {"none": [None] * texts}
    of_part: dict[Part, list[Adapter]] = {}
    for part in ("reasoner", "generator"):
        of_part[part] = [random_adapter(model, part, rank, seed) for seed in range(persons)]
        mixed = [*of_part[part], *[None] * (texts - persons)]
        random.Random(0).shuffle(mixed)
        adapters[part] = mixed
    figures: dict[str, Any] = {f"{part}_adapter": loading(each) for part, each in of_part.items()}
    personal = PersonalModel(model, load_tokenizer(backbone), PromptConfig(), {})
    writer = Writer(personal, texts, prefix_bytes=0, draft_tokens=0, parallel="off")
    steps = alternate(
        {name: stepping(writer, each, setting) for name, each in adapters.items()}, rounds
    )
    writer.abandon()
    stream = alternate(
        {name: streaming(writer, adapters[name], setting) for name in ("none", "reasoner")}, rounds
    )
    figures |= {
        "reasoner_step_ratio": ratio(steps["none"], steps["reasoner"]),
        "generator_step_ratio": ratio(steps["none"], steps["generator"]),
        "reasoner_tokens_a_second_ratio": ratio(stream["none"], stream["reasoner"]),
        "milliseconds_a_step": {n: [1000 * s for s in each] for n, each in steps.items()},
        "tokens_a_second": {n: [1 / s for s in each] for n, each in stream.items()},
        "setting": {
            "generator": backbone,
            "reasoner": backbone,
            "reasoner_layers": reasoner_layers,
            "dtype": setting.dtype,
            "prompt_tokens": prompt_tokens,
            "rounds": rounds,
            "texts": texts,
            "persons": persons,
            "rank": rank,
            "seconds": "of the processor",
        },
        "environment": describe_machine(),
    }
    Console().print(figures_table(f"{persons} persons among {texts} texts", figures))
    if out is not None:
        with atomic_write(out) as file:
            json.dump(as_json(figures), file, indent=1)
            file.write("\n")


def loading(adapters: list[Adapter]) -> dict[str, Any]:
    """Bytes of a file, and milliseconds until a `Writer` could take what is in it."""
    milliseconds = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.adapter"
        for adapter in adapters:
            save_adapter(file, adapter)
            begun = CLOCK()
            assert load_adapter(file).version == adapter.version
            milliseconds.append(1000 * (CLOCK() - begun))
        return {"bytes": file.stat().st_size, "milliseconds_to_load": median(milliseconds)}


def stepping(
    writer: Writer, adapters: list[Adapter | None], setting: DecodeSetting
) -> Callable[[], float]:
    """Measures a step of as many texts, which are begun where there are none."""

    def measure() -> float:
        while len(writer.scheduler.slots) < len(adapters):
            writer.submit(_prompt(writer, setting, len(writer.scheduler.slots)), ENDLESS)
            writer.step()
        for sequence, adapter in zip(writer.scheduler.slots, adapters, strict=True):
            sequence.adapter = adapter
        seconds_a_step(writer, 1)  # lays the adapters out
        begun = CLOCK()
        seconds_a_step(writer, STEPS)
        return (CLOCK() - begun) / STEPS

    return measure


def streaming(
    writer: Writer, adapters: list[Adapter | None], setting: DecodeSetting
) -> Callable[[], float]:
    """Measures a token of texts that join and leave, from the first prompt on."""

    def measure() -> float:
        begun = CLOCK()
        sequences = []
        for number, adapter in enumerate((adapters * 2)[: int(STREAMED * len(adapters))]):
            tokens = 32 + number % len(adapters)  # they do not end together
            sampling = Sampling(tokens, temperature=0, min_new_tokens=tokens)
            prompt = _prompt(writer, setting, number)
            sequences.append(writer.submit(prompt, sampling, adapter=adapter))
        while not writer.idle:
            writer.step()
        return (CLOCK() - begun) / sum(len(each.token_ids) for each in sequences)

    return measure


def _prompt(writer: Writer, setting: DecodeSetting, seed: int) -> Prompt:
    vocab = writer.personal.model.config.vocab_size
    return Prompt(random_tokens(setting.prompt_tokens, vocab, seed), [], ())


if __name__ == "__main__":
    typer.run(main)
