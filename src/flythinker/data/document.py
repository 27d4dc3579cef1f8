"""One past text of a person, and how its date is written."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date as calendar_date
from typing import Any

_ISO_DATE = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?")


@dataclass(frozen=True, slots=True)
class Edit:
    """What a model wrote for somebody, who then changed it: what for, and how it was before."""

    query: str
    written: str


@dataclass(frozen=True, slots=True)
class Document:
    """One past text of a user; `date` is ISO `YYYY[-MM[-DD]]`, or empty when unknown.

    `edit_of` is there if the text was first written for the user by a model.

    >>> from flythinker import Document
    >>> Document("The tide was out.", title="At the sea", date="2024-05").title
    'At the sea'
    """

    text: str
    title: str = ""
    date: str = ""
    edit_of: Edit | None = None

    def record(self) -> dict[str, Any]:
        """The document as a JSON object of a file, `edit_of` left out where there is none."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Document":
        """The document of such an object, whose fields are right."""
        edit = record.get("edit_of")
        return cls(**{**record, "edit_of": Edit(**edit) if edit else None})


def is_iso_date(text: str) -> bool:
    """Whether `text` is a real calendar date `YYYY`, `YYYY-MM` or `YYYY-MM-DD`."""
    match = _ISO_DATE.fullmatch(text)
    if not match:
        return False
    year, month, day = (int(part or 1) for part in match.groups())
    try:
        calendar_date(year, month, day)
    except ValueError:
        return False
    return True
