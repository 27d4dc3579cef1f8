"""What a request for a completion may say, of both kinds."""

from dataclasses import replace
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from flythinker.serving.api.drawing import Drawing
from flythinker.serving.api.fields import Clean, Strict
from flythinker.serving.api.messages import Message, NoTools, earlier_turns
from flythinker.serving.service import WritingRequest

MAX_CHOICES = 16
"""The largest `n`, and the most prompts of one request."""


class StreamOptions(Strict):
    """What a streamed answer is to have beside the text."""

    include_usage: bool = False
    include_obfuscation: bool = False


class Generation(Drawing):
    """What both kinds of completion have in common."""

    n: int = Field(1, ge=1, le=MAX_CHOICES)
    max_tokens: int | None = Field(None, ge=1, description="Default: as long as in training.")
    stream_options: StreamOptions | None = None
    store: bool | None = None  # changes nothing

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
    function_call: Literal["none", "auto"] | None = None
    parallel_tool_calls: bool | None = None

    def writing_requests(self) -> list[WritingRequest]:
        """What the service is asked to write: the last message is the query."""
        max_tokens = self.max_completion_tokens or self.max_tokens
        logprobs = (self.top_logprobs or 0) if self.logprobs else None
        earlier = earlier_turns(self.messages[:-1])
        return [self._request(self.messages[-1].text, max_tokens, logprobs, earlier, self.n)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.messages[-1].role != "user":
            raise ValueError("the last of messages must be the user's: it says what to write")
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs is for logprobs=true")
        return self


class CompletionRequest(Generation):
    """`POST /v1/completions`.

    A text is a query, asked as the model was trained; token ids, and all that is to be echoed, are
    read as they are, without anybody's history.
    """

    prompt: (
        Clean
        | Annotated[list[Clean], Field(min_length=1, max_length=MAX_CHOICES)]
        | Annotated[list[int], Field(min_length=1)]
        | Annotated[list[list[int]], Field(min_length=1, max_length=MAX_CHOICES)]
    )
    max_tokens: int | None = Field(
        None, ge=0, description="Default: as long as in training. 0 with `echo` alone."
    )
    echo: bool = Field(
        False, description="The text begins with the prompt, and `logprobs` with the prompt's."
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
        requests = [
            self._request(prompt, self.max_tokens, self.logprobs, n=self.n)
            for prompt in self.prompts
        ]
        return [self._echoing(request) for request in requests] if self.echo else requests

    def _echoing(self, request: WritingRequest) -> WritingRequest:
        scored = [replace(each, prompt_logprobs=self.logprobs) for each in request.samplings]
        return replace(request, samplings=scored, echo=True)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.max_tokens == 0 and not self.echo:
            raise ValueError("max_tokens must be 1 or more, unless there is echo")
        if self.best_of is not None and self.best_of != self.n:
            raise ValueError("best_of must be n: every text written is returned")
        if len(self.prompts) * self.n > MAX_CHOICES:
            raise ValueError(f"prompt: at most {MAX_CHOICES} texts a request, n for each prompt")
        return self
