"""One past text of a person, and how its date is written."""

import re
from dataclasses import dataclass
from datetime import date as calendar_date

_ISO_DATE = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?")


@dataclass(frozen=True, slots=True)
class Document:
    """One past text of a user; `date` is ISO `YYYY[-MM[-DD]]`, or empty when unknown.

    >>> from flythinker import Document
    >>> Document("The tide was out.", title="At the sea", date="2024-05").title
    'At the sea'
    """

    text: str
    title: str = ""
    date: str = ""


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
