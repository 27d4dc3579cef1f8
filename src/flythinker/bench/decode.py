"""What writing costs: the `Writer` against `generate`, FlyThinker against its Generator alone."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import AutoModel, AutoModelForCausalLM

from flythinker.adapter import Part
from flythinker.backbones.packaged import resolve_backbone
from flythinker.bench.rounds import Rounds, alternate, describe_machine, ratio
from flythinker.data.prompt import Prompt, PromptConfig
from flythinker.generation.drafts import NO_DRAFTS, Draft
from flythinker.generation.parallel import Mode
from flythinker.generation.sampling import Sampling
from flythinker.generation.writer import Writer
from flythinker.hardware import Precision, as_dtype, choose_dtype, dtype_name, native_dtype
from flythinker.model import FlyThinkerForCausalLM
from flythinker.model_folder import PersonalModel, load_tokenizer

BATCH = 8
QUERY_TOKENS = 60
_ENDLESS = Sampling(10**6, temperature=0, min_new_tokens=10**6)
_READ_BYTES = 2**28  # far more than any cache holds


@dataclass(frozen=True)
class DecodeSetting:
    """What is measured: the models, their type (see `resolve`), and the lengths in tokens."""

    generator: str = "smollm2-135m"
    reasoner: str = "smollm2-135m"
    reasoner_layers: int | None = 8
    dtype: Precision = "auto"
    prompt_tokens: int = 600
    new_tokens: int = 24
    profile_tokens: int = 1200
    rounds: int = 5


def resolve(setting: DecodeSetting) -> DecodeSetting:
    """The setting with the type that `auto` is here."""
    dtype = choose_dtype(native_dtype(), as_dtype(setting.dtype), "bench")
    return replace(setting, dtype=dtype_name(dtype))  # type: ignore[arg-type]


def bench_decode(setting: DecodeSetting) -> dict[str, Any]:
    """Measure everything in alternating rounds of one process, greedily, without drafts.

    Returns figures by name; ratios are `Ratio`s: `engine_vs_generate` (the Generator alone, time a
    token), `engine_vs_floor` (against reading its weights once at this machine's bandwidth),
    `ratio_plain` (FlyThinker over the Generator alone in the same engine), `ratio_plain_int8` (the
    same with 8-bit weights in the Reasoner, on the CPU), `batch8_speedup` (tokens a second of 8
    texts over 1, FlyThinker), `ttft_cached_ratio` (time to the first token with the profile read
    before, over anew). Also milliseconds a token of each contestant, and `weights_ratio`, the bytes
    of weights that a token of FlyThinker reads over those of its Generator: what `ratio_plain`
    would be if reading weights were all there is, and one pass alone used all of the bandwidth.
    """
    setting = resolve(setting)
    plain = AutoModelForCausalLM.from_pretrained(
        resolve_backbone(setting.generator), dtype=as_dtype(setting.dtype)
    ).eval()
    plain.to(_device())
    prompt = random_tokens(setting.prompt_tokens, plain.config.vocab_size)
    alone = make_writer(setting, None, [prompt])
    both = make_writer(setting, setting.reasoner, [prompt])
    eight = make_writer(setting, setting.reasoner, [prompt] * BATCH)
    contestants = {
        "generate": lambda: _generate(plain, prompt, setting.new_tokens),
        "engine": lambda: seconds_a_step(alone, setting.new_tokens),
        "flythinker": lambda: seconds_a_step(both, setting.new_tokens),
        "flythinker, batch 8": lambda: seconds_a_step(eight, setting.new_tokens),
        "floor": lambda: _read_weights(plain),
    }
    if plain.device.type == "cpu":
        rounded = make_writer(setting, setting.reasoner, [prompt], int8=["reasoner"])
        contestants["int8 Reasoner"] = lambda: seconds_a_step(rounded, setting.new_tokens)
    seconds = alternate(contestants, setting.rounds)
    first = _first_tokens(setting, plain.config.vocab_size)
    batch = [one / BATCH for one in seconds["flythinker, batch 8"]]
    figures = {
        "engine_vs_generate": ratio(seconds["engine"], seconds["generate"]),
        "engine_vs_floor": ratio(seconds["engine"], seconds["floor"]),
        "ratio_plain": ratio(seconds["flythinker"], seconds["engine"]),
        "batch8_speedup": ratio(seconds["flythinker"], batch),
        "weights_ratio": _weights_ratio(setting),
        "ttft_cached_ratio": ratio(first["cached"], first["anew"]),
        "milliseconds": {name: [1000 * s for s in times] for name, times in seconds.items()},
        "first_token_seconds": first,
        "setting": vars(setting),
        "environment": describe_machine(),
    }
    if "int8 Reasoner" in seconds:
        figures["ratio_plain_int8"] = ratio(seconds["int8 Reasoner"], seconds["engine"])
    return figures


def make_writer(
    setting: DecodeSetting,
    reasoner: str | None,
    prompts: Sequence[list[int]] = (),
    prefix_bytes: int = 0,
    int8: Collection[Part] = (),
    parallel: Mode = "auto",
) -> Writer:
    """A `Writer` of the setting's models, with thoughts or (`reasoner` is `None`) without.

    It has read `prompts`, and written the first tokens of texts that have no end.
    """
    thinks = reasoner is not None
    model = FlyThinkerForCausalLM.from_generator_reasoner_pretrained(
        setting.generator,
        reasoner,
        fusion_weight=0.5 if thinks else 0.0,
        projection="linear" if thinks else "pad",
        reasoner_layers=setting.reasoner_layers if thinks else None,
        dtype=as_dtype(setting.dtype),
    )
    tokenizer = load_tokenizer(setting.generator)
    personal = PersonalModel(model.to(_device()), tokenizer, PromptConfig(), {})
    writer = Writer(personal, max(1, len(prompts)), prefix_bytes, 0, int8, parallel)
    for prompt in prompts:
        writer.submit(Prompt(prompt, [], ()), _ENDLESS)
        writer.step()
    return writer


def _device() -> torch.device:
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def _weights_ratio(setting: DecodeSetting) -> float:
    """Weights that a token reads, of both parts over the Generator's; a table is read as a head."""
    written_by, thought_by = (
        AutoModel.from_pretrained(resolve_backbone(name))
        for name in (setting.generator, setting.reasoner)
    )
    layers = list(thought_by.layers)[: setting.reasoner_layers]
    return 1 + sum(map(_size, layers)) / _size(written_by)


def _size(module: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def _generate(model: Any, prompt: list[int], tokens: int) -> float:
    """Seconds a token of transformers' `generate`, without the prompt's reading."""

    def seconds(count: int) -> float:
        ids = torch.tensor([prompt], device=model.device)
        return _timed(
            lambda: model.generate(ids, max_new_tokens=count, min_new_tokens=count, do_sample=False)
        )

    return (seconds(1 + tokens) - seconds(1)) / tokens


def seconds_a_step(writer: Writer, tokens: int) -> float:
    """Of a decode step of all texts, taken again and again: nothing is accepted of it."""
    slots = writer.scheduler.slots
    draft = Draft(NO_DRAFTS, [[] for _ in slots])

    def run() -> None:
        for _ in range(tokens):
            writer.runner.decode(slots, draft).logits.argmax(-1).cpu()

    return _timed(run) / tokens


def _read_weights(model: torch.nn.Module) -> float:
    """Seconds to read as many bytes as the model has weights, by summing that much memory."""
    n_bytes = sum(p.numel() * p.element_size() for p in model.parameters())
    memory = torch.ones(_READ_BYTES // 4, device=next(model.parameters()).device)
    return _timed(lambda: memory.sum().item()) * n_bytes / _READ_BYTES


def _first_tokens(setting: DecodeSetting, vocab: int) -> Rounds:
    """Seconds to the first token of a new query, the profile read before or not."""
    known = make_writer(setting, setting.reasoner, prefix_bytes=2**31)
    anew = make_writer(setting, setting.reasoner)
    profile = random_tokens(setting.profile_tokens, vocab)
    queries = iter(range(10**6))

    def ask(writer: Writer) -> float:
        query = random_tokens(QUERY_TOKENS, vocab, seed=1 + next(queries))
        writer.submit(Prompt(profile + query, [], ()), Sampling(1, temperature=0))
        return _timed(writer.step)

    return alternate({"cached": lambda: ask(known), "anew": lambda: ask(anew)}, setting.rounds)


def random_tokens(count: int, vocab: int, seed: int = 0) -> list[int]:
    """Token ids that mean nothing."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(vocab, (count,), generator=draw).tolist()


@torch.inference_mode()
def _timed(run: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun
