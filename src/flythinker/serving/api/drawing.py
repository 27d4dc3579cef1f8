"""How a text is drawn, and for whom: what all requests for a text may say."""

import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field, field_validator

from flythinker.data.prompt import Turn
from flythinker.generation.sampling import Sampling
from flythinker.serving.api.fields import (
    MAX_USER_CHARS,
    USER_PATTERN,
    Clean,
    Strict,
    is_user_id,
)
from flythinker.serving.service import WritingRequest

GREEDY_BELOW = 0.01
"""Colder temperatures decode greedily: logits divided by so little are no longer numbers."""

StopString = Annotated[Clean, Field(min_length=1, max_length=200)]


class Drawing(Strict):
    """What all kinds of requests have in common: OpenAI's fields, vLLM's, and three of our own.

    A parameter that would change the text and that we do not have is refused, unless its value is
    the one that changes nothing; one that changes nothing is taken and ignored.
    """

    model: Clean
    temperature: float | None = Field(
        None, ge=0, le=2, description="0 decodes greedily; default: 0.8, the paper's."
    )
    top_p: float | None = Field(None, ge=0, le=1, description="Default: 0.95, the paper's.")
    stop: StopString | Annotated[list[StopString], Field(max_length=4)] | None = None
    seed: int | None = Field(
        None, ge=-(2**63), lt=2**63, description="Choice i is drawn with seed + i."
    )
    stream: bool | None = None
    user: str | None = Field(
        None,
        pattern=USER_PATTERN,
        max_length=MAX_USER_CHARS,
        description="Whose stored writings personalize the text.",
    )

    fusion_weight: float | None = Field(
        None, ge=0, le=10, description="λ, the weight of the thoughts; default: the model's."
    )
    history_k: int | None = Field(
        None, ge=0, le=100, description="The most past texts shown; default: as in training."
    )
    personalize: bool = Field(True, description="false: as if the user were unknown.")

    presence_penalty: float = Field(0, ge=-2, le=2)
    frequency_penalty: float = Field(0, ge=-2, le=2)
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] = Field(
        {}, max_length=1024, description="What is added to the logits of tokens, by their ids."
    )
    repetition_penalty: float = Field(1, ge=0.1, le=10, description="As vLLM, and as below.")
    top_k: int = Field(0, ge=-1, description="0 and -1: all tokens.")
    min_p: float = Field(0, ge=0, le=1)
    min_tokens: int = Field(0, ge=0)
    ignore_eos: bool = False
    stop_token_ids: list[int] = Field([], max_length=64)

    safety_identifier: str | None = Field(None, description="As `user`, if that is not there.")
    prompt_cache_key: str | None = Field(None, description="As `user`, if neither is there.")

    # these change nothing
    metadata: dict[str, Any] | None = None
    service_tier: str | None = None

    @property
    def person(self) -> str | None:
        """Whose writings personalize the text; OpenAI has renamed `user` twice."""
        named = (self.user, self.safety_identifier, self.prompt_cache_key)
        some = next((name for name in named if name is not None), None)
        return some if some is not None and self.personalize and is_user_id(some) else None

    def _request(
        self,
        query: str | list[int],
        max_tokens: int | None,
        logprobs: int | None,
        earlier: Sequence[Turn] = (),
        n: int = 1,
    ) -> WritingRequest:
        """What the service is asked to write: `n` texts, each drawn with a seed of its own."""
        temperature = Sampling.temperature if self.temperature is None else self.temperature
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        seed = secrets.randbelow(2**63) if self.seed is None else self.seed
        first = Sampling(
            seed=seed,
            temperature=temperature if temperature >= GREEDY_BELOW else 0.0,
            top_p=Sampling.top_p if self.top_p is None else self.top_p,
            stop=tuple(stop),
            logprobs=logprobs,
            fusion_weight=self.fusion_weight,
            min_new_tokens=self.min_tokens,
            top_k=max(self.top_k, 0),
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            logit_bias=tuple((int(token), bias) for token, bias in self.logit_bias.items()),
            ignore_eos=self.ignore_eos,
            stop_token_ids=tuple(self.stop_token_ids),
        )
        samplings = [replace(first, seed=(seed + choice) % 2**63) for choice in range(n)]
        return WritingRequest(query, samplings, max_tokens, self.person, earlier, self.history_k)

    @field_validator("logit_bias")
    @classmethod
    def _check_logit_bias(cls, biases: dict[str, float]) -> dict[str, float]:
        if not all(token.isdecimal() and token.isascii() and len(token) < 10 for token in biases):
            raise ValueError('its keys are ids of tokens, like {"42": -100}')
        return biases
