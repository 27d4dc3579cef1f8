"""What a request for a text may say: OpenAI's fields, and three of our own.

A parameter that would change the text and that we do not have is refused, unless its value is the
one that changes nothing; one that changes nothing is taken and ignored.
"""

import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from flythinker.data.prompt import Turn
from flythinker.generation.sampling import Sampling
from flythinker.serving.api.fields import MAX_USER_CHARS, USER_PATTERN, Clean, Strict
from flythinker.serving.api.messages import Message, NoTools, earlier_turns
from flythinker.serving.service import WritingRequest

MAX_CHOICES = 16
"""The largest `n`, and the most prompts of one request."""

GREEDY_BELOW = 0.01
"""Colder temperatures decode greedily: logits divided by so little are no longer numbers."""

StopString = Annotated[Clean, Field(min_length=1, max_length=200)]


class StreamOptions(Strict):
    """What a streamed answer is to have beside the text."""

    include_usage: bool = False
    include_obfuscation: bool = False


class Generation(Strict):
    """What both kinds of completion have in common."""

    model: Clean
    n: int = Field(1, ge=1, le=MAX_CHOICES)
    max_tokens: int | None = Field(None, ge=1, description="Default: as long as in training.")
    temperature: float | None = Field(
        None, ge=0, le=2, description="0 decodes greedily; default: 0.8, the paper's."
    )
    top_p: float | None = Field(None, ge=0, le=1, description="Default: 0.95, the paper's.")
    stop: StopString | Annotated[list[StopString], Field(max_length=4)] | None = None
    seed: int | None = Field(
        None, ge=-(2**63), lt=2**63, description="Choice i is drawn with seed + i."
    )
    stream: bool | None = None
    stream_options: StreamOptions | None = None
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

    # these change nothing
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None

    def _request(
        self,
        query: str | list[int],
        max_tokens: int | None,
        logprobs: int | None,
        earlier: Sequence[Turn] = (),
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
        samplings = [replace(first, seed=(seed + choice) % 2**63) for choice in range(self.n)]
        user = self.user if self.personalize else None
        return WritingRequest(query, samplings, max_tokens, user, earlier, self.history_k)

    @field_validator("logit_bias")
    @classmethod
    def _check_logit_bias(cls, biases: dict[str, float]) -> dict[str, float]:
        if not all(token.isdecimal() and token.isascii() and len(token) < 10 for token in biases):
            raise ValueError('its keys are ids of tokens, like {"42": -100}')
        return biases

    @model_validator(mode="after")
    def _check_stream_options(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options is for stream=true")
        return self


class ChatRequest(Generation):
    """`POST /v1/chat/completions`."""

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)

    response_format: dict[Literal["type"], Literal["text"]] | None = None
    modalities: list[Literal["text"]] | None = None
    tools: NoTools | None = None
    functions: NoTools | None = None
    tool_choice: Literal["none", "auto"] | None = None
    parallel_tool_calls: bool | None = None

    def writing_requests(self) -> list[WritingRequest]:
        """What the service is asked to write: the last message is the query."""
        max_tokens = self.max_completion_tokens or self.max_tokens
        logprobs = (self.top_logprobs or 0) if self.logprobs else None
        earlier = earlier_turns(self.messages[:-1])
        return [self._request(self.messages[-1].text, max_tokens, logprobs, earlier)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.messages[-1].role != "user":
            raise ValueError("the last of messages must be the user's: it says what to write")
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs is for logprobs=true")
        return self


class CompletionRequest(Generation):
    """`POST /v1/completions`.

    A text is a query, asked as the model was trained; token ids are read as they are, without
    anybody's history.
    """

    prompt: (
        Clean
        | Annotated[list[Clean], Field(min_length=1, max_length=MAX_CHOICES)]
        | Annotated[list[int], Field(min_length=1)]
        | Annotated[list[list[int]], Field(min_length=1, max_length=MAX_CHOICES)]
    )
    logprobs: int | None = Field(None, ge=0, le=20)
    return_token_ids: bool = Field(False, description="As vLLM: `token_ids` of each choice.")
    return_tokens_as_token_ids: bool = Field(
        False, description="As vLLM: `token_id:ID` in place of each token of `logprobs`."
    )
    cache_salt: Clean | None = Field(
        None, description="As vLLM: prompts of different salts share no cache."
    )

    best_of: int | None = None
    echo: Literal[False] | None = None
    suffix: Literal[""] | None = None

    @property
    def prompts(self) -> list[str | list[int]]:
        """The prompts, one or more."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [[token for token in self.prompt if isinstance(token, int)]]
        return [prompt for prompt in self.prompt if not isinstance(prompt, int)]

    def writing_requests(self) -> list[WritingRequest]:
        """What the service is asked to write, one for each prompt."""
        return [self._request(prompt, self.max_tokens, self.logprobs) for prompt in self.prompts]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.best_of is not None and self.best_of != self.n:
            raise ValueError("best_of must be n: every text written is returned")
        if len(self.prompts) * self.n > MAX_CHOICES:
            raise ValueError(f"prompt: at most {MAX_CHOICES} texts a request, n for each prompt")
        return self
