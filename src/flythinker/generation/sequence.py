"""One text as it is written: what has been drawn, what may be shown of it, when it ends."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from tokenizers.decoders import DecodeStream
from torch import Tensor

from flythinker.data.prompt import Prompt
from flythinker.generation.effects import Effect
from flythinker.generation.prompt_lookup import PromptLookup
from flythinker.generation.sampler import Sampler
from flythinker.generation.sampling import Sampling
from flythinker.model_folder import PersonalModel

FinishReason = Literal["stop", "length", "cancelled"]


class TokenLogprob(NamedTuple):
    """A token's log-probability before temperature and top-p, and the likeliest in its place.

    `top` are pairs of a token and its log-probability, likeliest first.
    """

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...]


class TokenEffect(NamedTuple):
    """An `Effect` and the token that was drawn there.

    `text` is empty for a piece of a character that a later token completes.
    """

    token_id: int
    text: str
    kl: float
    words: tuple[str, ...]


@dataclass(eq=False)
class Writing:
    """One text as it is written.

    Attributes:
        prompt: what it answers. `sampling`: how it is drawn. `owner`: whose it is, see `join`.
        token_ids: written so far, without the token that ended it.
        text: written so far, without a stop string; what may still become one is held back.
        logprobs, effects: one for each of `token_ids`, if `sampling` asks for them.
        finish_reason: "stop" (it ended by itself or at a stop string), "length", "cancelled";
            `None` while it is being written.
    """

    prompt: Prompt
    sampling: Sampling
    owner: str = ""
    token_ids: list[int] = field(default_factory=list)
    text: str = ""
    logprobs: list[TokenLogprob] = field(default_factory=list)
    effects: list[TokenEffect] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    _pending: str = ""  # decoded, and held back

    def cancel(self) -> None:
        """Stop; its slot is free at the next step."""
        self.finish_reason = self.finish_reason or "cancelled"


class TextState:
    """What a text in work needs: its sampler, its decoder, its drafts from the prompt."""

    def __init__(self, writing: Writing, personal: PersonalModel, eos: int) -> None:
        self.writing = writing
        self.eos = eos
        self.lookup = PromptLookup(writing.prompt.prompt_ids)
        self.ids = self.lookup.ids
        self.sampler = Sampler(writing.sampling, len(self.ids), eos, personal.model.device)
        self.tokenizer = personal.tokenizer
        self.stream = DecodeStream(skip_special_tokens=True)

    def left(self) -> int:
        """Tokens that may still be written."""
        return self.writing.sampling.max_new_tokens - len(self.writing.token_ids)

    def advance(
        self, logits: Tensor, draft: Sequence[int], effects: Sequence[Effect] | None = None
    ) -> str:
        """Draw the next token, and one more for each draft that proves right.

        Row i of `logits` [1 + drafts or more, vocab] follows the first i drafted tokens, and
        `effects[i]` is what thoughts did to it. Returns what is added to the text.
        """
        added = ""
        for number, (row, drafted) in enumerate(zip(logits, [*draft, None], strict=False)):
            token = self.sampler.draw(row, self.ids)
            self.lookup.add(token)
            added += self._append(token, row, effects[number] if effects is not None else None)
            if self.writing.finish_reason or token != drafted:
                break
        return added

    def _append(self, token: int, logits: Tensor, effect: Effect | None) -> str:
        """The text goes on with `token`; returns what can be shown of it."""
        writing = self.writing
        if token == self.eos:
            return self._end("stop", whole=True)
        writing.token_ids.append(token)
        text = self.stream.step(self.tokenizer.backend_tokenizer, token) or ""
        writing._pending += text
        if writing.sampling.logprobs is not None:
            writing.logprobs.append(_logprob(logits, token, writing.sampling.logprobs))
        if effect is not None:
            writing.effects.append(TokenEffect(token, text, *effect))
        for stop in writing.sampling.stop:
            if stop in writing._pending:
                writing._pending = writing._pending.partition(stop)[0]
                return self._end("stop")
        if self.left() == 0:
            return self._end("length", whole=True)
        return self._release(held=_may_become(writing._pending, writing.sampling.stop))

    def _end(self, reason: FinishReason, whole: bool = False) -> str:
        writing = self.writing
        writing.finish_reason = reason
        if whole:  # bytes that the stream held back because they are no character yet
            text = self.tokenizer.decode(writing.token_ids, skip_special_tokens=True)
            rest = text[len(writing.text + writing._pending) :]
            writing._pending += rest
            if writing.effects:
                last = writing.effects[-1]
                writing.effects[-1] = last._replace(text=last.text + rest)
        return self._release(held=0)

    def _release(self, held: int) -> str:
        writing = self.writing
        cut = len(writing._pending) - held
        added, writing._pending = writing._pending[:cut], writing._pending[cut:]
        writing.text += added
        return added


def _logprob(logits: Tensor, token: int, n: int) -> TokenLogprob:
    """The entry of `token` and of the `n` likeliest, given logits [vocab]."""
    logs = torch.log_softmax(logits.float(), dim=-1)
    best = logs.topk(n)
    top = tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))
    return TokenLogprob(token, float(logs[token]), top)


def _may_become(text: str, stops: Sequence[str]) -> int:
    """How many characters at the end of `text` begin a stop string."""
    return max(
        (n for stop in stops for n in range(1, len(stop)) if text.endswith(stop[:n])), default=0
    )
