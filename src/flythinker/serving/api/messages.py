"""The messages of a conversation: those that clients write, and our answers sent back to us."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from flythinker.data.prompt import Turn
from flythinker.serving.api.fields import Clean, Strict

NoTools = Annotated[list[Any], Field(max_length=0, description="None: the model calls no tools.")]


class TextPart(Strict):
    """A part of a message; only text is read."""

    type: Literal["text"]
    text: Clean

    @model_validator(mode="before")
    @classmethod
    def _only_text(cls, part: Any) -> Any:
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(kind, str) and kind != "text":
            raise ValueError('only text is read here: send parts of type "text" alone')
        return part


class Message(Strict):
    """One message of a conversation. `developer` is another word for `system`.

    An answer of ours, or of any other server of OpenAI's protocol, is taken as it was sent.
    """

    role: Literal["system", "developer", "user", "assistant"]
    content: Clean | list[TextPart] | None = None
    name: str | None = None

    # what an answer has beside its text
    refusal: Clean | None = None
    annotations: list[Any] | None = None
    tool_calls: NoTools | None = None

    @property
    def text(self) -> str:
        """The whole content, or what an assistant said in its place."""
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content)
        return self.content or self.refusal or ""

    @model_validator(mode="after")
    def _check_content(self) -> Self:
        if self.content is None and self.role != "assistant":
            raise ValueError(
                f"content is missing: only an assistant's may be null, not {self.role}'s"
            )
        return self


def earlier_turns(before: Sequence[Message]) -> list[Turn]:
    """What was said before the query, the instructions together at the beginning."""
    system = [message.text for message in before if message.role in ("system", "developer")]
    turns = [Turn("system", "\n\n".join(system))] if system else []
    for message in before:
        if message.role == "user" or message.role == "assistant":
            turns.append(Turn(message.role, message.text))
    return turns
