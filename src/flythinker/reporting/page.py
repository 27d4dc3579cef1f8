"""A page of tables, plots and texts, rendered as one self-contained HTML file and as Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flythinker.files import atomic_write
from flythinker.reporting.templates import template


@dataclass(frozen=True)
class Cell:
    """A value, a note in small print under it, and how it compares ("better", "worse", …)."""

    text: str
    note: str = ""
    verdict: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of cells; each row begins with its heading. `columns` names all, the heading's too."""

    columns: list[str]
    rows: list[tuple[str, list[Cell]]]
    title: str = ""


@dataclass(frozen=True)
class Figure:
    """An inline SVG and what it shows."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Text:
    """One text under a heading, such as the method that wrote it."""

    heading: str
    text: str


@dataclass(frozen=True)
class Section:
    """A part of the page. `legend` names the lines of its figures, in their order.

    `texts` are groups (heading, query, texts) shown side by side, in the HTML page only.
    """

    title: str
    note: str = ""
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    legend: Sequence[str] = ()
    texts: Sequence[tuple[str, str, list[Text]]] = field(default=())


def write_page(path_html: Path, title: str, subtitle: str, sections: Sequence[Section]) -> None:
    """Write `path_html` and the same name with `.md`; each appears only once complete."""
    view = {"title": title, "subtitle": subtitle, "sections": sections}
    for kind, path in (("html", path_html), ("md", path_html.with_suffix(".md"))):
        text = template(f"reporting/page.{kind}.j2").render(view)
        with atomic_write(path) as file:
            file.write(text)
