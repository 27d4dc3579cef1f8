"""Kinds of fields that several requests have, and the words for a wrong one."""

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

USER_PATTERN = r"^[^/\x00-\x1f\x7f\ufffd]+$"
"""A user's id is what stands in a path as one part, and was valid UTF-8."""

MAX_USER_CHARS = 200

DOCUMENT_PATTERN = "^doc-[0-9a-f]{32}$"

_NO_NUL = r"^[^\x00]*$"

PATTERN_WORDS = {
    USER_PATTERN: f"needs 1 to {MAX_USER_CHARS} characters, none of them '/', a control character "
    "or U+FFFD",
    DOCUMENT_PATTERN: "needs 'doc-' and 32 hexadecimal digits, as the list of documents says it",
    _NO_NUL: "has a NUL character: leave it out",
}
"""What a client is told in place of a regular expression."""

Clean = Annotated[str, Field(pattern=_NO_NUL)]
"""Text as every database and tokenizer takes it: no NUL, and nothing that is not Unicode."""


def is_user_id(name: str) -> bool:
    """Whether a user may be called so."""
    return len(name) <= MAX_USER_CHARS and re.match(USER_PATTERN, name) is not None


class Strict(BaseModel):
    """A part of a request: a field that is unknown, or of another type, is refused.

    A field that is null is as if it were not there, whatever it is called: clients send the whole
    of OpenAI's schema so.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        return {name: value for name, value in fields.items() if value is not None}
