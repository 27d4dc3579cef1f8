"""Throughput on vLLM: FlyThinker against its Generator alone and against `Writer` (docs/vllm.md).

    python benchmarks/vllm_throughput.py --json > vllm.json

Everything runs in alternating rounds of one process, greedily, on prompts of random tokens that no
cache knows. Needs the extra `vllm` (docs/vllm.md).
"""

# Imports that vLLM's processes, which import this file again, do without are in the functions.
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

Measure = Callable[[], Any]


@dataclass(frozen=True)
class Setting:
    """What is measured; lengths in tokens."""

    generator: str
    reasoner_layers: int
    dtype: str
    concurrency: tuple[int, ...]
    prompt_tokens: int
    new_tokens: int
    rounds: int
    threads: int
    compiled: bool


def main(
    generator: Annotated[str, typer.Option(help="Of both parts.")] = "smollm2-135m",
    reasoner_layers: Annotated[int, typer.Option(help="Its first layers only.", min=1)] = 8,
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "bfloat16",
    concurrency: Annotated[list[int] | None, typer.Option(help="Requests at a time.")] = None,
    prompt_tokens: Annotated[int, typer.Option(min=1)] = 128,
    new_tokens: Annotated[int, typer.Option(min=1)] = 64,
    rounds: Annotated[int, typer.Option(help="Alternating rounds.", min=1)] = 3,
    threads: Annotated[int, typer.Option(help="Of each engine, on the CPU.")] = os.cpu_count() or 1,
    compiled: Annotated[bool, typer.Option(help="Let vLLM compile the parts.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure and print tokens a second, and their ratios."""
    from rich.console import Console

    from flythinker.bench.rounds import as_json as to_json
    from flythinker.bench.rounds import figures_table

    setting = Setting(
        generator,
        reasoner_layers,
        dtype,
        tuple(concurrency or (1, 8, 32)),
        prompt_tokens,
        new_tokens,
        rounds,
        threads,
        compiled,
    )
    figures = measure(setting)
    if as_json:
        print(json.dumps({"vllm": to_json(figures)}, indent=1))
    else:
        Console().print(figures_table(figures["environment"]["machine"], figures))


def measure(setting: Setting) -> dict[str, Any]:
    """Ratios of throughput by number of requests, and tokens a second of each contestant."""
    os.environ |= {  # before torch is imported
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # its own binding leaves a core of two unused
        "OMP_NUM_THREADS": str(setting.threads),
        "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    }
    from flythinker.bench.rounds import alternate, describe_machine, ratio

    with TemporaryDirectory() as folder:
        save_models(setting, Path(folder))
        with engine(setting, f"{folder}/alone") as alone, engine(setting, f"{folder}/both") as both:
            ways = {
                "generator": lambda requests: on_vllm(alone, setting, requests),
                "flythinker": lambda requests: on_vllm(both, setting, requests),
                "writer": on_writer(setting, f"{folder}/both"),
            }
            seconds = alternate(
                {
                    f"{name} {requests}": timed(way(requests))
                    for requests in setting.concurrency
                    for name, way in ways.items()
                },
                setting.rounds,
            )
    figures: dict[str, Any] = {}
    for n in setting.concurrency:
        figures[f"vs_generator_{n}"] = ratio(seconds[f"generator {n}"], seconds[f"flythinker {n}"])
        figures[f"vs_writer_{n}"] = ratio(seconds[f"writer {n}"], seconds[f"flythinker {n}"])
    figures["tokens_per_second"] = {
        name: [int(name.split()[1]) * setting.new_tokens / one for one in each]
        for name, each in seconds.items()
    }
    return figures | {"setting": asdict(setting), "environment": describe_machine()}


def save_models(setting: Setting, folder: Path) -> None:
    """`alone`, the Generator, and `both`, a FlyThinker model; its map starts at zero."""
    from transformers import AutoTokenizer

    from flythinker import FlyThinkerForCausalLM
    from flythinker.backbones.packaged import resolve_backbone

    model = FlyThinkerForCausalLM.from_generator_reasoner_pretrained(
        setting.generator,
        setting.generator,
        projection="linear",
        reasoner_layers=setting.reasoner_layers,
        dtype=setting.dtype,
    )
    tokenizer = AutoTokenizer.from_pretrained(resolve_backbone(setting.generator))
    for name, one in {"alone": model.generator, "both": model}.items():
        one.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)


@contextmanager
def engine(setting: Setting, folder: str) -> Iterator[Any]:
    """vLLM with the model of `folder`."""
    from vllm import LLM

    llm = LLM(
        folder,
        dtype=setting.dtype,
        enforce_eager=not setting.compiled,
        max_model_len=setting.prompt_tokens + setting.new_tokens,
        max_num_seqs=max(setting.concurrency),
        enable_prefix_caching=False,
        kv_cache_memory_bytes=2**30,
    )
    yield llm
    llm.llm_engine.engine_core.shutdown()


def on_vllm(llm: Any, setting: Setting, requests: int) -> Measure:
    """Answers all requests, which come at once."""
    from vllm import SamplingParams

    how = SamplingParams(temperature=0, max_tokens=setting.new_tokens, ignore_eos=True)
    prompts = [{"prompt_token_ids": ids} for ids in random_prompts(setting, requests)]
    return lambda: llm.generate(prompts, how, use_tqdm=False)


def on_writer(setting: Setting, folder: str) -> Callable[[int], Measure]:
    """The same in this process, without drafts."""
    import torch

    from flythinker.data.prompt import Prompt
    from flythinker.generation.sampling import Sampling
    from flythinker.generation.writer import Writer
    from flythinker.model_folder import load_model_folder

    torch.set_num_threads(setting.threads)
    personal = load_model_folder(folder, dtype=getattr(torch, setting.dtype))
    writer = Writer(personal, max(setting.concurrency), prefix_bytes=0, draft_tokens=0)
    how = Sampling(setting.new_tokens, temperature=0, min_new_tokens=setting.new_tokens)

    def prepare(requests: int) -> Measure:
        prompts = [Prompt(ids, [], ()) for ids in random_prompts(setting, requests)]
        return lambda: writer.write(prompts, how)

    return prepare


def random_prompts(setting: Setting, requests: int) -> list[list[int]]:
    """Token ids above those of most special tokens."""
    import torch

    draw = torch.Generator().manual_seed(requests)
    shape = (requests, setting.prompt_tokens)
    return torch.randint(100, 10_000, shape, generator=draw).tolist()


def timed(run: Callable[[], Any]) -> Measure:
    """Seconds that `run` takes."""

    def seconds() -> float:
        begun = time.perf_counter()
        run()
        return time.perf_counter() - begun

    return seconds


if __name__ == "__main__":
    typer.run(main)
