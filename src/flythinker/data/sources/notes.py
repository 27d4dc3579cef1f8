"""`.txt`, `.md`, `.markdown`, `.mdx` and `.org` files: one note each."""

import re
from datetime import datetime
from pathlib import Path

from flythinker.data.example import Document
from flythinker.data.sources import markdown
from flythinker.data.sources.dates import split_name
from flythinker.data.sources.decode import read_text
from flythinker.data.sources.front_matter import date_field, split_front_matter
from flythinker.data.sources.reading import Reading

_NOTION_ID = re.compile(r" [0-9a-f]{32}$")
_NOTION_FIELDS = re.compile(r"\A\s*((?:[A-Z][\w ]{0,30}: .+\n)+)\s*\n")
_ORG_FIELD = re.compile(r"^#\+(\w+):[ \t]*(.*?)[ \t]*$\n?", re.MULTILINE)
_ORG_BLOCK = re.compile(r"^[ \t]*#\+begin_(\w+).*?^[ \t]*#\+end_\1[^\n]*\n?", re.M | re.S | re.I)
_ORG_DRAWER = re.compile(r"^[ \t]*:[\w-]+:[ \t]*$\n.*?^[ \t]*:END:[ \t]*$\n?", re.M | re.S | re.I)
_ORG_LINK = re.compile(r"\[\[(?:[^\]\n]*\]\[)?([^\]\n]+)\]\]")
_ORG_NOISE = re.compile(r"^[ \t]*(?:# .*|(?:SCHEDULED|DEADLINE|CLOSED):.*)$\n?", re.MULTILINE)
_ORG_HEADING = re.compile(r"^(\*+) (?:(?:TODO|DONE) )?", re.MULTILINE)
_PROSE_BLOCKS = {"quote", "verse", "center"}  # of Org; the others hold code and output


def read_note(file: Path, reading: Reading) -> list[Document]:
    """The note in a file; none if it is empty.

    Title: a field, else the first heading, else the file name. Date: a field, else a file name
    like `2024-05-01-rain.md`, else the time of the last change.
    """
    text, kind = read_text(file, reading), file.suffix.lower()
    if kind == ".org":
        fields, text = _split_org(text)
        heading = ""
    else:
        fields, text = split_front_matter(text)
        heading = ""
        if kind != ".txt":
            heading, text = markdown.take_heading(markdown.clean(text, mdx=kind == ".mdx"))
            if _NOTION_ID.search(file.stem):
                found, text = _split_notion(text)
                fields |= found
    if not text.strip():
        return []
    date, name = date_and_name(file, reading, fields)
    title = fields.get("title") or heading or name
    return [Document(text.strip(), " ".join(title.split()), date)]


def date_and_name(
    file: Path, reading: Reading, fields: dict[str, str] | None = None
) -> tuple[str, str]:
    """When a file's text was written (may be unknown), and what its name calls it."""
    stem = _NOTION_ID.sub("", file.stem)
    named, rest = split_name(stem)
    name = rest if rest == stem and named else re.sub(r"[-_]+", " ", rest)
    written, problem = date_field(fields or {}, reading.day_first)
    date = written or named
    if problem and not written:
        reading.remark(file, f"{problem}; {'its name dates it' if named else 'without a date'}")
    elif not date:
        reading.assume("dated by the time of the file's last change")
        date = datetime.fromtimestamp(file.stat().st_mtime).date().isoformat()
    return date, name


def _split_notion(text: str) -> tuple[dict[str, str], str]:
    """A page's properties, which Notion writes as lines under its title, and the text."""
    block = _NOTION_FIELDS.match(text)
    if not block:
        return {}, text
    pairs = (line.split(": ", 1) for line in block[1].splitlines())
    return {name.lower(): value for name, value in pairs}, text[block.end() :]


def _split_org(text: str) -> tuple[dict[str, str], str]:
    """Fields and prose of an Org file; headings as markdown writes them."""
    fields = {name.lower(): value.strip("<>[]") for name, value in _ORG_FIELD.findall(text)}
    text = _ORG_BLOCK.sub(lambda block: block[0] if block[1].lower() in _PROSE_BLOCKS else "", text)
    text = re.sub(r"^[ \t]*#\+(?:begin|end)_.*$\n?", "", text, flags=re.M | re.I)
    text = _ORG_NOISE.sub("", _ORG_DRAWER.sub("", _ORG_FIELD.sub("", text)))
    text = _ORG_HEADING.sub(lambda stars: "#" * len(stars[1]) + " ", text)
    if "date" in fields:  # a timestamp names its weekday, in any language: [2024-05-01 Wed]
        fields["date"] = re.sub(r"(?<=\d) [^\W\d]+\.?", "", fields["date"])
    return fields, _ORG_LINK.sub(r"\1", text)
