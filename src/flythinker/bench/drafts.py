"""What drafts save: a trained model writing real texts, against its Generator alone."""

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from flythinker.bench.rounds import alternate, ratio
from flythinker.data.example import read_examples, sample_examples
from flythinker.data.prompt import Prompt, build_prompt
from flythinker.generation.sampling import Sampling
from flythinker.generation.writer import Writer
from flythinker.model_folder import load_model_folder

TEXTS = 4
NEW_TOKENS = 128


def bench_drafts(model: str, data: Path, dtype: torch.dtype, rounds: int = 3) -> dict[str, Any]:
    """Write responses to `TEXTS` examples, one at a time, in alternating rounds.

    Time is counted from a text's first token on. Returns figures by name, each once greedily and
    once, with `_sampled` at its end, at temperature 0.8: `ratio_draft` (seconds a token of
    FlyThinker with drafts over those of the Generator alone without) and `ratio_no_draft`, both
    `Ratio`s; `acceptance_rate`, the share of drafted tokens that proved right; `drafted_share`,
    the share of the text that came from drafts; `same_texts`, the share of texts that drafts did
    not change (in bf16 two tokens may be all but equally likely: the shape of a pass decides);
    `ratio_effects`, what telling the effects of thoughts costs over `ratio_no_draft`'s FlyThinker.

    Raises:
        FlyThinkerError: see `load_model_folder` and `read_examples`.
    """
    writers = {}
    for name, slots, draft_tokens in (
        ("alone", 1, 0),
        ("plain", 1, 0),
        ("drafts", 1, 8),
        ("effects", 2, 0),
    ):
        personal = load_model_folder(model, dtype=dtype)
        if name == "alone":
            personal.model.config.fusion_weight = 0.0
        writers[name] = Writer(personal, slots, draft_tokens=draft_tokens)
    examples = sample_examples(read_examples(data), TEXTS)
    prompts = [build_prompt(e, personal.tokenizer, personal.prompt) for e in examples]
    figures: dict[str, Any] = {}
    for suffix, temperature in (("", 0.0), ("_sampled", 0.8)):
        sampling = Sampling(NEW_TOKENS, temperature=temperature, seed=1)
        texts: dict[str, list[str]] = {}
        drafting = writers["drafts"]
        drafting.drafted = drafting.accepted = 0

        def write(name: str, sampling: Sampling, texts: dict[str, list[str]]) -> float:
            how = replace(sampling, effects=name == "effects")
            taken, texts[name] = _write(writers[name], prompts, how)
            return taken

        contestants = {name: partial(write, name, sampling, texts) for name in writers}
        seconds = alternate(contestants, rounds)
        tokens = sum(len(personal.tokenizer(text)["input_ids"]) for text in texts["drafts"])
        figures |= {
            f"ratio_draft{suffix}": ratio(seconds["drafts"], seconds["alone"]),
            f"ratio_no_draft{suffix}": ratio(seconds["plain"], seconds["alone"]),
            f"ratio_effects{suffix}": ratio(seconds["effects"], seconds["plain"]),
            f"acceptance_rate{suffix}": drafting.accepted / max(1, drafting.drafted),
            f"drafted_share{suffix}": drafting.accepted / (1 + rounds) / tokens,
            f"same_texts{suffix}": sum(map(str.__eq__, texts["drafts"], texts["plain"])) / TEXTS,
        }
    return figures


def _write(
    writer: Writer, prompts: Sequence[Prompt], sampling: Sampling
) -> tuple[float, list[str]]:
    """Seconds a token after each text's first, and the texts."""
    seconds, tokens, texts = 0.0, 0, []
    for prompt in prompts:
        sequence = writer.submit(prompt, sampling)
        writer.step()  # reads the prompt
        begun, before = time.perf_counter(), len(sequence.token_ids)
        while sequence.finish_reason is None:
            writer.step()
        seconds += time.perf_counter() - begun
        tokens += len(sequence.token_ids) - before
        texts.append(sequence.text)
    return seconds / tokens, texts
