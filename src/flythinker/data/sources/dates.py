"""Dates as people and programs write them → ISO."""

import re
from datetime import date as calendar_date

# 2024-5-1, 2024/05/01, 2024.05, 2024-05-01T20:30:00Z; the time of the day is not kept
_YEAR_FIRST = re.compile(r"(\d{4})[-/._](\d{1,2})(?:[-/._](\d{1,2}))?(?:[T ,]+\d{1,2}:\d{2}.*)?")
_COMPACT = re.compile(r"(\d{4})(\d{2})(\d{2})(?:T?\d{4}(?:\d{2})?)?Z?")
_YEAR_LAST = re.compile(r"(\d{1,2})([-/.])(\d{1,2})[-/.](\d{4})(?:[T ,]+\d{1,2}:\d{2}.*)?")
_NAME = re.compile(
    r"(?P<date>\d{4}[-_.]\d{2}(?:[-_.]\d{2})?|\d{8}(?:\d{4}(?:\d{2})?)?)(?:[-_ .]+|T\d+[-_ .]*|$)"
)


class AmbiguousDate(ValueError):
    """Day and month could be either."""


def parse_date(written: str, day_first: bool | None = None) -> str | None:
    """ISO `YYYY[-MM[-DD]]` of a date; `None` if it is none, or no day of the calendar.

    Raises:
        AmbiguousDate: `01/05/2024`, and `day_first` is `None`.
    """
    written = written.strip().strip("\"'")
    if re.fullmatch(r"\d{4}", written):
        return _iso(written)
    if match := _YEAR_FIRST.fullmatch(written) or _COMPACT.fullmatch(written):
        return _iso(*match.groups())
    if match := _YEAR_LAST.fullmatch(written):
        first, separator, second, year = match.groups()
        if int(first) > 12 or separator == ".":  # dots are written where the day comes first
            return _iso(year, second, first)
        if int(second) > 12 or first == second:
            return _iso(year, first, second)
        if day_first is None:
            raise AmbiguousDate(written)
        return _iso(year, second, first) if day_first else _iso(year, first, second)
    return _in_words(written)


def split_name(stem: str) -> tuple[str, str]:
    """Date and the rest of a file name; no date in `1984 by Orwell`: a year alone is a title."""
    match = _NAME.match(stem)
    date = parse_date(match["date"].replace("_", "-")) if match else None
    if match is None or date is None or not 1900 <= int(date[:4]) <= 2100:
        return "", stem
    return date, stem[match.end() :] or stem


def _iso(year: str, month: str | None = None, day: str | None = None) -> str | None:
    try:
        date = calendar_date(int(year), int(month or 1), int(day or 1)).isoformat()
    except ValueError:
        return None
    return date[: 10 if day else 7 if month else 4]


def _in_words(written: str) -> str | None:
    """`1 May 2024`, `March 2024`, `3 mars 2024`, `Thu, 14 Mar 2024 10:00:00 +0000`."""
    if not re.search(r"\d{4}", written) or not re.search(r"[^\W\d_]{3}|[年月년월]", written):
        return None
    import dateparser

    for parts, length in ((["day", "month", "year"], 10), (["month", "year"], 7)):
        found = dateparser.parse(
            written, settings={"REQUIRE_PARTS": parts, "PARSERS": ["absolute-time"]}
        )
        if found:
            return found.date().isoformat()[:length]
    return None
