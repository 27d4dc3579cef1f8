"""What writing costs: the engine against `generate`, FlyThinker against its Generator alone."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from flythinker.bench.rounds import Rounds, alternate, describe_machine, ratio
from flythinker.decoding.engine import Engine
from flythinker.model import FlyThinkerForCausalLM
from flythinker.model.backbone import resolve_backbone

BATCH = 8
QUERY_TOKENS = 60
_READ_BYTES = 2**28  # far more than any cache holds


@dataclass(frozen=True)
class DecodeSetting:
    """What is measured: the models, their type, and the lengths in tokens."""

    generator: str = "smollm2-135m"
    reasoner: str = "smollm2-135m"
    reasoner_layers: int | None = 8
    dtype: str = "bfloat16"
    prompt_tokens: int = 600
    new_tokens: int = 24
    profile_tokens: int = 1200
    rounds: int = 5


def bench_decode(setting: DecodeSetting) -> dict[str, Any]:
    """Measure everything in alternating rounds of one process, greedily, without drafts.

    Returns figures by name; ratios are `Ratio`s: `engine_vs_generate` (the Generator alone, time a
    token), `engine_vs_floor` (against reading its weights once at this machine's bandwidth),
    `ratio_plain` (FlyThinker over the Generator alone in the same engine), `batch8_speedup` (tokens
    a second of 8 texts over 1, FlyThinker), `ttft_cached_ratio` (time to the first token with
    the profile read before, over anew); and milliseconds a token of each contestant.
    """
    dtype = getattr(torch, setting.dtype)
    plain = AutoModelForCausalLM.from_pretrained(
        resolve_backbone(setting.generator), dtype=dtype
    ).eval()
    prompt = _tokens(setting.prompt_tokens, plain.config.vocab_size)
    alone, both = _engine(setting, None), _engine(setting, setting.reasoner)
    eight = _engine(setting, setting.reasoner, slots=BATCH)
    alone.join(prompt)
    both.join(prompt)
    for _ in range(BATCH):
        eight.join(prompt)
    seconds = alternate(
        {
            "generate": lambda: _generate(plain, prompt, setting.new_tokens),
            "engine": lambda: _decode(alone, setting.new_tokens),
            "flythinker": lambda: _decode(both, setting.new_tokens),
            "flythinker, batch 8": lambda: _decode(eight, setting.new_tokens),
            "floor": lambda: _read_weights(plain),
        },
        setting.rounds,
    )
    first = _first_tokens(setting, plain.config.vocab_size)
    batch = [one / BATCH for one in seconds["flythinker, batch 8"]]
    return {
        "engine_vs_generate": ratio(seconds["engine"], seconds["generate"]),
        "engine_vs_floor": ratio(seconds["engine"], seconds["floor"]),
        "ratio_plain": ratio(seconds["flythinker"], seconds["engine"]),
        "batch8_speedup": ratio(seconds["flythinker"], batch),
        "ttft_cached_ratio": ratio(first["cached"], first["anew"]),
        "milliseconds": {name: [1000 * s for s in times] for name, times in seconds.items()},
        "first_token_seconds": first,
        "setting": vars(setting),
        "environment": describe_machine(),
    }


def _engine(
    setting: DecodeSetting, reasoner: str | None, slots: int = 1, prefix_bytes: int = 0
) -> Engine:
    thinks = reasoner is not None
    model = FlyThinkerForCausalLM.from_generator_reasoner_pretrained(
        setting.generator,
        reasoner,
        fusion_weight=0.5 if thinks else 0.0,
        projection="linear" if thinks else "pad",
        reasoner_layers=setting.reasoner_layers if thinks else None,
        dtype=getattr(torch, setting.dtype),
    )
    if torch.accelerator.is_available():
        model.to(torch.accelerator.current_accelerator())
    return Engine(model, slots, prefix_bytes)


def _generate(model: Any, prompt: list[int], tokens: int) -> float:
    """Seconds a token of transformers' `generate`, without the prompt's reading."""

    def seconds(count: int) -> float:
        ids = torch.tensor([prompt], device=model.device)
        return _timed(
            lambda: model.generate(ids, max_new_tokens=count, min_new_tokens=count, do_sample=False)
        )

    return (seconds(1 + tokens) - seconds(1)) / tokens


def _decode(engine: Engine, tokens: int) -> float:
    """Seconds a step; the texts go back to where they were."""
    before = [(place.generator, place.reasoner) for place in engine.places]
    ids = torch.full((len(before), 1), 5, device=engine.model.device)

    def run() -> None:
        for _ in range(tokens):
            engine.read(ids).argmax(-1).cpu()

    taken = _timed(run) / tokens
    for place, (generator, reasoner) in zip(engine.places, before, strict=True):
        place.generator, place.reasoner = generator, reasoner
    return taken


def _read_weights(model: torch.nn.Module) -> float:
    """Seconds to read as many bytes as the model has weights, by summing that much memory."""
    n_bytes = sum(p.numel() * p.element_size() for p in model.parameters())
    memory = torch.ones(_READ_BYTES // 4, device=next(model.parameters()).device)
    return _timed(lambda: memory.sum().item()) * n_bytes / _READ_BYTES


def _first_tokens(setting: DecodeSetting, vocab: int) -> Rounds:
    """Seconds to the first token of a new query, the profile read before or not."""
    known = _engine(setting, setting.reasoner, prefix_bytes=2**31)
    anew = _engine(setting, setting.reasoner)
    profile = _tokens(setting.profile_tokens, vocab)
    queries = iter(range(10**6))

    def ask(engine: Engine) -> float:
        prompt = profile + _tokens(QUERY_TOKENS, vocab, seed=1 + next(queries))
        taken = _timed(lambda: int(engine.join(prompt).argmax()))
        engine.leave(0)
        return taken

    return alternate({"cached": lambda: ask(known), "anew": lambda: ask(anew)}, setting.rounds)


def _tokens(count: int, vocab: int, seed: int = 0) -> list[int]:
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(vocab, (count,), generator=draw).tolist()


@torch.inference_mode()
def _timed(run: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun
