"""What `POST /v1/responses` takes: text, without a memory of ours and without tools."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from flythinker.serving.api.drawing import Drawing
from flythinker.serving.api.fields import Clean, Strict
from flythinker.serving.api.messages import Message, NoTools, earlier_turns
from flythinker.serving.service import WritingRequest

LOGPROBS = "message.output_text.logprobs"
"""What `include` says to have log-probabilities; all else in it is of tools."""


class InputPart(Strict):
    """A part of a message, ours among them; only text is read."""

    type: Literal["input_text", "output_text", "text", "refusal"]
    text: Clean = ""
    refusal: Clean = ""

    # what an answer has beside its text
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _only_text(cls, part: Any) -> Any:
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(kind, str) and kind in ("input_image", "input_file", "input_audio"):
            raise ValueError('only text is read here: send parts of type "input_text" alone')
        return part


class InputMessage(Message):
    """One message of `input`; one of an answer of ours is taken as it was sent."""

    type: Literal["message"] = "message"
    content: Clean | list[InputPart] | None = None  # type: ignore[assignment]

    # what an answer has beside its content
    id: str | None = None
    status: str | None = None
    phase: str | None = None

    @property
    def text(self) -> str:
        """The whole content."""
        if isinstance(self.content, list):
            return "\n".join(part.text or part.refusal for part in self.content)
        return self.content or ""


class TextFormat(Strict):
    """What the text is to look like: as it comes."""

    format: dict[Literal["type"], Literal["text"]] | None = None
    verbosity: str | None = Field(None, description="Taken, and without effect.")


class ResponseRequest(Drawing):
    """`POST /v1/responses`. Nothing is stored: each request has the whole conversation."""

    input: Clean | Annotated[list[InputMessage], Field(min_length=1)]
    instructions: Clean | None = None
    max_output_tokens: int | None = Field(
        None, ge=1, description="Default: as long as in training."
    )
    include: list[Literal["message.output_text.logprobs"]] | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)

    metadata: dict[str, str] | None = None
    text: TextFormat | None = None
    truncation: Literal["disabled"] | None = None
    store: Literal[False] | None = None
    background: Literal[False] | None = None
    previous_response_id: Any = None
    conversation: Any = None
    tools: NoTools | None = None
    tool_choice: Literal["none", "auto"] | None = None
    parallel_tool_calls: bool | None = None
    stream_options: dict[Literal["include_obfuscation"], bool] | None = None

    @property
    def logprobs(self) -> int | None:
        """How many likely tokens to tell beside each; `None`: no log-probabilities."""
        asked = LOGPROBS in (self.include or ()) or self.top_logprobs
        return (self.top_logprobs or 0) if asked else None

    def writing_requests(self) -> list[WritingRequest]:
        """What the service is asked to write: the last message is the query."""
        messages = self._messages
        if self.instructions is not None:
            messages = [Message(role="system", content=self.instructions), *messages]
        earlier = earlier_turns(messages[:-1])
        return [self._request(messages[-1].text, self.max_output_tokens, self.logprobs, earlier)]

    @property
    def _messages(self) -> list[Message]:
        if isinstance(self.input, str):
            return [Message(role="user", content=self.input)]
        return list(self.input)

    @field_validator("previous_response_id", "conversation")
    @classmethod
    def _no_memory(cls, value: Any) -> Any:
        raise ValueError("nothing is stored here: send the whole conversation as input")

    @field_validator("store", mode="before")
    @classmethod
    def _no_store(cls, value: Any) -> Any:
        if value is True:
            raise ValueError("answers are not stored here: leave it out, or send false")
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self._messages[-1].role != "user":
            raise ValueError("the last message of input must be the user's: it says what to write")
        return self
