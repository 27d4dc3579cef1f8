"""The block of fields above a note: YAML between `---`, or TOML between `+++` (Hugo)."""

import re
import tomllib
from collections.abc import Iterator

import yaml

from flythinker.data.sources.dates import AmbiguousDate, parse_date

_BLOCK = re.compile(r"\A(---|\+\+\+)[ \t]*\n(.*?)^\1[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_LINE = re.compile(r"^([\w-][\w -]*?)[ \t]*[:=][ \t]*(.*?)[ \t]*$", re.MULTILINE)
_DATES = (
    *("date", "published", "publishdate", "pubdate", "published_at", "created", "created_at"),
    *(
        "created time",
        "date created",
        "creation_date",
        "updated",
        "updated_at",
        "date modified",
        "lastmod",
    ),
    *("modified",),
)
"""Names that a date goes by, the first one wins: when it was written before when it was changed."""


def split_front_matter(text: str) -> tuple[dict[str, str], str]:
    """Fields, by lower-case name and as they were written, and the text below them.

    A block that its language's library refuses is read line by line: `title: Foo: bar` is no YAML
    and yet a title. A rule (`---`) above a text is no front matter.
    """
    match = _BLOCK.match(text)
    if not match:
        return {}, text
    block = match[2]
    try:
        fields = dict(_yaml_fields(block) if match[1] == "---" else _toml_fields(block))
    except (yaml.YAMLError, tomllib.TOMLDecodeError, ValueError):
        fields = {name: value.strip("\"'") for name, value in _LINE.findall(block)}
    if not fields and block.strip():
        return {}, text
    return {name.lower(): value for name, value in fields.items()}, text[match.end() :]


def date_field(fields: dict[str, str], day_first: bool | None) -> tuple[str, str]:
    """Date of the fields, and what is wrong with the first that gives none (each may be empty)."""
    problem = ""
    for name in _DATES:
        written = fields.get(name, "")
        for part in _items(written):
            try:
                if date := parse_date(part, day_first):
                    return date, problem
                problem = problem or f"'{name}: {written}' is no date"
            except AmbiguousDate:
                problem = problem or (
                    f"'{name}: {written}': day or month first? say --day-first or --month-first"
                )
    return "", problem


def _items(written: str) -> list[str]:
    """The dates in a list (`[a, b]`, or one a line after dashes), else the one."""
    if written.startswith("[") or written.startswith("- "):
        return [part.strip(" -\t") for part in re.split(r"[,\n]", written.strip("[]"))]
    return [written] if written else []


def _yaml_fields(block: str) -> Iterator[tuple[str, str]]:
    """Composed and not loaded: `yes` stays `yes`, `20:30` no number, `2024-02-30` no error."""
    node = yaml.compose(block, Loader=yaml.SafeLoader)
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if isinstance(value, yaml.ScalarNode):
            yield str(key.value), value.value
        else:
            yield str(key.value), block[value.start_mark.index : value.end_mark.index].strip()


def _toml_fields(block: str) -> Iterator[tuple[str, str]]:
    for key, value in tomllib.loads(block).items():
        yield key, value if isinstance(value, str) else str(value)
