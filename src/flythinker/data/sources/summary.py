"""What came of reading somebody's texts, in rows and lines that are shown to them."""

from collections import Counter
from dataclasses import dataclass

from flythinker.data.language import language_of
from flythinker.data.sources.reading import Reading
from flythinker.data.words import count_words

SHOWN = 20
"""So many files are named in full."""

COLUMNS = ("read", "texts", "words", "languages", "dates")


@dataclass(frozen=True, slots=True)
class Summary:
    """What was read, a row of `COLUMNS` for each kind of file; what was not, a line each."""

    rows: list[tuple[str, str, str, str, str]]
    lines: list[str]


def summarize(reading: Reading) -> Summary:
    """What was read, with languages and dates; what was skipped, left out or assumed, and why."""
    return Summary(_rows(reading), _lines(reading))


def _rows(reading: Reading) -> list[tuple[str, str, str, str, str]]:
    rows = []
    for kind, documents in sorted(reading.documents.items()):
        dates = sorted(document.date for document in documents if document.date)
        undated = sum(not document.date for document in documents)
        parts = [" to ".join(dict.fromkeys((dates[0], dates[-1])))] if dates else []
        parts += [f"{undated} without"] if undated else []
        words = sum(count_words(document.text) for document in documents)
        spoken = Counter(language_of(document.text) or "unclear" for document in documents)
        languages = ", ".join(f"{name} {count}" for name, count in spoken.most_common(5))
        rows.append((kind, str(len(documents)), str(words), languages, ", ".join(parts)))
    return rows


def _lines(reading: Reading) -> list[str]:
    lines = []
    for title, remarks in (("skipped", reading.skipped), ("note", reading.remarks)):
        lines += [f"{title}: {remark.where}: {remark.what}" for remark in remarks[:SHOWN]]
        if len(remarks) > SHOWN:
            lines.append(f"{title}: {len(remarks) - SHOWN} more")
    for title, counts in (("left out", reading.left_out), ("assumed", reading.assumed)):
        for what, count in sorted(counts.items()):
            lines.append(f"{title}: {what}" + (f" ({count} times)" if count > 1 else ""))
    return lines
