"""One text on its way from request to last token: what is asked, what is written, where it is."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from tokenizers.decoders import DecodeStream
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from flythinker.adapter import Adapter
from flythinker.data.prompt import Prompt
from flythinker.generation.drafts import PromptLookup
from flythinker.generation.effects import Effect
from flythinker.generation.sampler import Sampler
from flythinker.generation.sampling import Sampling

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
class Sequence:
    """One text, asked for and as it is written.

    Attributes:
        prompt: what it answers.
        sampling: how it is drawn.
        weight: its λ.
        owner: whose it is. Prompts of different owners share nothing in the prefix cache: how fast
            a prompt is read would tell what others have asked.
        token_ids: written so far, without the token that ended it, unless `prompt_logprobs` are
            asked for.
        text: written so far, without a stop string; what may still become one is held back.
        prompt_logprobs: one for each token of the prompt but the first, if `sampling` asks.
        logprobs, effects: one for each of `token_ids`, if `sampling` asks for them.
        finish_reason: "stop" (it ended by itself or at a stop string), "length", "cancelled";
            `None` while it is being written.
        slot: where the caches have it while it is being written. `shadow_slot`: where they have the
            same tokens read without thoughts, if `sampling` asks for effects.
        adapter: of the person who is written for; `None`: the model as it is.
        ids: prompt and text. Between two steps both parts have read all of them but the last.
        last_thought: [d_R], about the last token that was read; enters with the next one.
        mean_thought: [d_R], over the prompt that the Reasoner has read.
    """

    prompt: Prompt
    sampling: Sampling
    weight: float
    owner: str = ""
    token_ids: list[int] = field(default_factory=list)
    text: str = ""
    prompt_logprobs: list[TokenLogprob] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    effects: list[TokenEffect] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    slot: int = 0
    shadow_slot: int | None = None
    adapter: Adapter | None = None
    ids: list[int] = field(init=False)
    last_thought: Tensor = field(init=False, repr=False)
    mean_thought: Tensor = field(init=False, repr=False)
    lookup: PromptLookup = field(init=False, repr=False)
    sampler: Sampler = field(init=False, repr=False)
    _tokenizer: PreTrainedTokenizerBase = field(init=False, repr=False)
    _stream: DecodeStream = field(init=False, repr=False)
    _ends: list[int] = field(init=False, repr=False)
    _pending: str = ""  # decoded, and held back

    def __post_init__(self) -> None:
        self.ids = list(self.prompt.prompt_ids)

    def start(self, tokenizer: PreTrainedTokenizerBase, eos: int, device: torch.device) -> None:
        """Get ready to `accept`, with what only a text that is being written needs."""
        self.lookup = PromptLookup(self.ids)
        self.sampler = Sampler(self.sampling, len(self.ids), eos, device)
        self._tokenizer, self._ends = tokenizer, self.sampling.ends(eos)
        self._stream = DecodeStream(skip_special_tokens=True)

    def cancel(self) -> None:
        """Stop; its slots are free at the next step."""
        self.finish_reason = self.finish_reason or "cancelled"

    @property
    def own_prompt(self) -> bool:
        """Whether the Reasoner has another prompt than the Generator."""
        return self.prompt.reasoner_ids is not None

    @property
    def reasoner_ids(self) -> list[int]:
        """The prompt that the Reasoner reads."""
        return self.prompt.reasoner_ids or self.prompt.prompt_ids

    @property
    def generator_read(self) -> int:
        """Tokens that the Generator has read."""
        return len(self.ids) - 1

    @property
    def reasoner_read(self) -> int:
        """Tokens that the Reasoner has read."""
        return len(self.ids) - 1 + len(self.reasoner_ids) - len(self.prompt.prompt_ids)

    @property
    def remaining(self) -> int:
        """Tokens that may still be written."""
        return self.sampling.max_new_tokens - len(self.token_ids)

    @property
    def slots_needed(self) -> int:
        """Slots that it takes: with effects a shadow too."""
        return 2 if self.sampling.effects else 1

    def weight_in(self, slot: int) -> float:
        """λ of what is read in one of its slots."""
        return 0.0 if slot == self.shadow_slot else self.weight

    def score_prompt(self, begin: int, logits: Tensor) -> None:
        """Take in `logits` [T, vocab] of what follows the prompt's tokens from `begin` on."""
        assert self.sampling.prompt_logprobs is not None
        following = self.prompt.prompt_ids[begin + 1 : begin + 1 + len(logits)]
        self.prompt_logprobs += [
            _logprob(row, token, self.sampling.prompt_logprobs)
            for row, token in zip(logits, following, strict=False)  # what follows all is not known
        ]

    def accept(
        self,
        tokens: list[int],
        logits: Tensor,
        thoughts: Tensor | None = None,
        effects: list[Effect] | None = None,
    ) -> str:
        """Go on with new tokens, as far as the end; returns what is added to the text.

        Args:
            tokens: drawn from the first rows of `logits` [T, vocab].
            thoughts: [T, d_R], about the tokens before each.
            effects: T, what thoughts did to the prediction of each.
        """
        if self.remaining == 0:  # it was about the prompt alone
            return self._end("length")
        added, accepted = "", 0
        while self.finish_reason is None and accepted < len(tokens):
            effect = None if effects is None else effects[accepted]
            self.ids.append(tokens[accepted])
            added += self._append(tokens[accepted], logits[accepted], effect)
            accepted += 1
        if thoughts is not None:
            self.last_thought = thoughts[accepted - 1]
        return added

    def _append(self, token: int, logits: Tensor, effect: Effect | None) -> str:
        """The text goes on with `token`; returns what can be shown of it."""
        if token in self._ends:
            added = self._end("stop", whole=True)
            if self.sampling.prompt_logprobs is not None:
                # who scores a prompt counts on an entry for what follows it, as other servers give
                self.token_ids.append(token)
                self._score(token, logits)
            return added
        self.token_ids.append(token)
        text = self._stream.step(self._tokenizer.backend_tokenizer, token) or ""
        self._pending += text
        self._score(token, logits)
        if effect is not None:
            self.effects.append(TokenEffect(token, text, *effect))
        may_end = len(self.token_ids) > self.sampling.min_new_tokens
        for stop in self.sampling.stop:
            if may_end and stop in self._pending:
                self._pending = self._pending.partition(stop)[0]
                return self._end("stop")
        if self.remaining == 0:
            return self._end("length", whole=True)
        return self._release(held=_may_become(self._pending, self.sampling.stop))

    def _score(self, token: int, logits: Tensor) -> None:
        if self.sampling.logprobs is not None:
            self.logprobs.append(_logprob(logits, token, self.sampling.logprobs))

    def _end(self, reason: FinishReason, whole: bool = False) -> str:
        self.finish_reason = reason
        self.lookup = PromptLookup([])  # its index of the prompt is no longer needed
        if whole:  # bytes that the stream held back because they are no character yet
            text = self._tokenizer.decode(self.token_ids, skip_special_tokens=True)
            rest = text[len(self.text + self._pending) :]
            self._pending += rest
            if self.effects:
                last = self.effects[-1]
                self.effects[-1] = last._replace(text=last.text + rest)
        return self._release(held=0)

    def _release(self, held: int) -> str:
        cut = len(self._pending) - held
        added, self._pending = self._pending[:cut], self._pending[cut:]
        self.text += added
        return added


def _logprob(logits: Tensor, token: int, n: int) -> TokenLogprob:
    """The entry of `token` and of the `n` likeliest, given logits [vocab]."""
    logs = torch.log_softmax(logits.float(), dim=-1)
    best = logs.topk(n)
    top = tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))
    return TokenLogprob(token, float(logs[token]), top)


def _may_become(text: str, stops: Iterable[str]) -> int:
    """How many characters at the end of `text` begin a stop string."""
    return max(
        (n for stop in stops for n in range(1, len(stop)) if text.endswith(stop[:n])), default=0
    )
