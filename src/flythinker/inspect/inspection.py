"""Seeing thoughts: how much each one changes what the model predicts, and which words it is near.

A thought is added to the embedding of a token and can change the prediction of the next one. A
`SeenToken` is therefore the token predicted, and its thought the one that entered one token before.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from flythinker.data.batch import Row, encode_prompt
from flythinker.data.example import Example
from flythinker.data.history import read_history
from flythinker.data.prompt import build_prompt, end_of_turn_id
from flythinker.errors import FlyThinkerError
from flythinker.generation.effects import NearWords, kl_nats
from flythinker.model import FlyThinkerCache
from flythinker.model_folder import PersonalModel
from flythinker.progress import track

Effect = Literal["local", "global"]


@dataclass(frozen=True)
class SeenToken:
    """A response token and what the thought before it did to its prediction.

    `kl` is KL(with ‖ without) of the two predictions and `nats`, `nats_without` the real token's
    negative log-likelihood under each, all in nats. `text` is empty for a piece of a character
    that a later token completes. `words` are the tokens nearest to the centred thought, none
    where no thought enters (`thought` is false).
    """

    text: str
    thought: bool
    kl: float
    nats: float
    nats_without: float
    words: tuple[str, ...]


@dataclass(frozen=True)
class Inspection:
    """All `SeenToken`s of a response, and what its thoughts have in common.

    `mean_share` is the length of the mean thought over the mean length of the thoughts (1: they
    are all the same; `None`: there are none, or they are zero), `mean_words` the tokens nearest to
    the mean. `skipped_tokens` of the vocabulary were not considered as near words. `cut`: the text
    is longer than `response_tokens`, and only its beginning was read.
    """

    effect: Effect
    tokens: tuple[SeenToken, ...]
    mean_share: float | None
    mean_words: tuple[str, ...]
    skipped_tokens: int
    cut: bool


def choose(
    examples: Sequence[Example], user: str | None, index: int, text: Path | None = None
) -> Example:
    """Example number `index`, counted from 0, of a user or of all (`None`).

    Its target is what the file `text` holds, if one is given.

    Raises:
        FlyThinkerError: there is no such user, or there are not so many examples.
    """
    theirs = [example for example in examples if user in (None, example.user_id)]
    if index < len(theirs):
        if text is None:
            return theirs[index]
        written = "\n\n".join(document.text for document in read_history(text))
        return replace(theirs[index], target=written)
    if not theirs:
        known = ", ".join(sorted({example.user_id for example in examples})[:5])
        raise FlyThinkerError(f"no example by user {user!r} in the data, which has {known}, …")
    whose = "" if user is None else f" by {user!r}"
    raise FlyThinkerError(f"no example {index}{whose}: --index goes from 0 to {len(theirs) - 1}")


def check_thinks(personal: PersonalModel, name: str) -> None:
    """Raise `FlyThinkerError` for a model (called `name`) that has no thoughts to inspect."""
    if personal.model.reasoner is None:
        raise FlyThinkerError(
            f"{name} has no Reasoner (it is a base model or SFT), so there are no thoughts to "
            "inspect: give a model folder that was trained with model.reasoner"
        )
    if personal.model.config.fusion_weight == 0:
        raise FlyThinkerError(
            f"{name} has fusion_weight 0, so its thoughts never enter: nothing to inspect"
        )


def inspect_example(
    personal: PersonalModel, example: Example, effect: Effect | None = None
) -> Inspection:
    """Measure every thought of the example's target; see `effects` for `effect` and its cost.

    The default is `local`, or `global` where thoughts enter in the prompt only.

    Raises:
        FlyThinkerError: the example has no target.
    """
    effect = effect or ("local" if personal.model.fusion.enters_response else "global")
    row = encode_prompt(build_prompt(example, personal.tokenizer, personal.prompt))
    response = row["input_ids"][row["prompt_length"] :]
    if not response:
        raise FlyThinkerError(
            f"the text by {example.user_id} is empty: there is nothing to inspect"
        )
    measured = list(effects(personal.model, row, effect))
    vectors, gate = entering(personal.model, row)
    entered = gate[row["prompt_length"] - 1 : -1]
    vectors = vectors[row["prompt_length"] - 1 : -1][entered]
    mean = vectors.mean(0) if len(vectors) else vectors.new_zeros(vectors.shape[-1])
    length = float(vectors.norm(dim=-1).mean()) if len(vectors) else 0.0
    head = personal.model.get_output_embeddings().weight.detach().float()
    near_words = NearWords(personal.tokenizer, head.norm(dim=-1))
    near = iter(near_words((vectors - mean) @ head.T))
    texts = pieces(personal.tokenizer, response)
    return Inspection(
        effect,
        tuple(
            SeenToken(text, thought, *numbers, next(near) if thought else ())
            for text, thought, numbers in zip(texts, entered.tolist(), measured, strict=True)
        ),
        float(mean.norm()) / length if length else None,
        near_words(mean[None] @ head.T)[0],
        len(head) - len(near_words.ids),
        cut=response[-1] != end_of_turn_id(personal.tokenizer),
    )


@torch.inference_mode()
def effects(
    model: PreTrainedModel, row: Row, effect: Effect
) -> Iterator[tuple[float, float, float]]:
    """KL(with ‖ without) and the nats with and without, of each response token of `row`.

    Args:
        model: a FlyThinker model with a Reasoner, in eval mode.
        row: one encoded example.
        effect: `"local"` takes away the one thought that enters just before the predicted token
            and keeps all others, at one decode step of two rows a token (a progress bar shows);
            `"global"` takes away all thoughts, at two passes over the text.
    """
    prompt_length = row["prompt_length"]
    targets = torch.tensor(row["input_ids"][prompt_length:])
    predictions = _local(model, row) if effect == "local" else _global(model, row)
    for target, pair in zip(targets, predictions, strict=True):
        nats = cross_entropy(pair.cpu().double(), target.expand(2), reduction="none").tolist()
        yield float(kl_nats(*pair)), nats[0], nats[1]


def _local(model: PreTrainedModel, row: Row) -> Iterator[Tensor]:
    """Logits [2, vocab] with and without the last thought, for each response token.

    Two rows read each token, one with and one without its thought; then both go on from the row
    that had it. The two differ in nothing else, so a thought of zero has an effect of exactly 0.
    """
    ids, prompt = _inputs(model, row)
    prompt_length, own_prompt = row["prompt_length"], "reasoner_ids" in row
    if own_prompt:  # without the response, which is read step by step
        responses = ids.shape[1] - prompt_length
        prompt["reasoner_input_ids"] = prompt["reasoner_input_ids"][:, :-responses]
    last = ids.new_tensor([[prompt_length - 1]])
    gate = model.fusion.gate(last, None, prompt["prompt_length"], own_prompt)
    start = prompt_length - 1 if gate.item() else prompt_length
    seen = FlyThinkerCache(model.config)
    first = model(ids[:, :start], cache=seen, logits_to_keep=1, **prompt).logits
    if start == prompt_length:  # no thought enters before the first response token
        yield first[0].expand(2, -1)
    on_off = torch.tensor([model.config.fusion_weight, 0.0], device=model.device)[:, None, None]
    both = ids.new_zeros(2)
    columns = range(start, ids.shape[1] - 1)
    for column in track(columns, "Effect of each thought"):
        seen.batch_select_indices(both)
        yield model(
            ids[:, column, None].expand(2, -1),
            cache=seen,
            fusion_weight=on_off,
            prompt_length=prompt["prompt_length"].expand(2),
        ).logits[:, -1]


def _global(model: PreTrainedModel, row: Row) -> Iterator[Tensor]:
    """Logits [2, vocab] with all thoughts and with none, for each response token."""
    ids, inputs = _inputs(model, row)
    columns = range(row["prompt_length"] - 1, ids.shape[1] - 1)
    inputs["logits_to_keep"] = torch.tensor(columns, device=ids.device)
    with_thoughts = model(ids, use_cache=False, **inputs).logits[0]
    without = model(ids, use_cache=False, fusion_weight=0, **inputs).logits[0]
    yield from (torch.stack(pair) for pair in zip(with_thoughts, without, strict=True))


@torch.inference_mode()
def entering(model: PreTrainedModel, row: Row) -> tuple[Tensor, Tensor]:
    """What the Generator's embeddings get, λ · P(r), from a pass of the Reasoner alone.

    Returns: float32 [seq, d_G], zero where no thought enters, and where one does, bool [seq].
    """
    ids, inputs = _inputs(model, row)
    reasoning = model.reason(ids, **inputs)
    nothing = torch.zeros(*ids.shape, model.config.hidden_size, device=ids.device)
    return model.fusion.add(nothing, reasoning.entering, reasoning.gate)[0], reasoning.gate[0]


def _inputs(model: PreTrainedModel, row: Row) -> tuple[Tensor, dict[str, Tensor]]:
    """The ids [1, seq] of a text, and what the model must know beside them."""
    ids = _tensor(model, row["input_ids"])
    inputs = {"prompt_length": ids.new_tensor([row["prompt_length"]])}
    if "reasoner_ids" in row:
        inputs["reasoner_input_ids"] = _tensor(model, row["reasoner_ids"])
    return ids, inputs


def pieces(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    """The text of each token; joined they are the text. See `SeenToken.text`."""
    texts, shown = [], 0
    for end in range(1, len(ids) + 1):
        text = tokenizer.decode(ids[:end], clean_up_tokenization_spaces=False)
        whole = text if end == len(ids) else text.rstrip("\ufffd")  # an unfinished character waits
        texts.append(whole[shown:])
        shown = max(shown, len(whole))
    return texts


def _tensor(model: PreTrainedModel, ids: Sequence[int]) -> Tensor:
    return torch.tensor([ids], device=model.device)
