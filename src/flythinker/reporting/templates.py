"""The one Jinja environment, of all pages and prompts that are written."""

import re
from functools import cache
from html import escape

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

# the intervals of numbers stay as they are; a link would need "(" behind
_MARKDOWN = re.compile(r"(\[[−+\d.]+, [−+\d.]+\](?!\())|([\\`*_\[\]#|~])")


def template(name: str) -> Template:
    """A template by its path in the package; HTML escapes what it is given."""
    return _environment().get_template(name)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("flythinker", ""),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "md": _escape_markdown,
        "paragraphs": _paragraphs,
        "unbroken": _keep_intervals_whole,
    }
    return environment


def _escape_markdown(text: object) -> str:
    """Text as it stands, in Markdown: no markup, no HTML, one line."""
    line = escape(" ".join(str(text).split()), quote=False)
    return _MARKDOWN.sub(lambda found: found[1] or "\\" + found[2], line)


def _paragraphs(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]


def _keep_intervals_whole(text: str) -> str:
    """Text whose lines never end in an interval, behind its name or before its sign."""
    whole = r"(?:[a-z]+ )?\[[^\]]*\](?: \S)?"
    return re.sub(whole, lambda found: found[0].replace(" ", "\N{NO-BREAK SPACE}"), text)
