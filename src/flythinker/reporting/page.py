"""A page of tables, plots and texts, rendered as one self-contained HTML file and as Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flythinker.files import atomic_write
from flythinker.reporting.templates import template


@dataclass(frozen=True)
class Cell:
    """A value, a note in small print under it, and how it compares ("better", "differs", …).

    A name of what is drawn in the plots has the number of its colour there as `series`. `tip` is
    what the HTML page says of the note where it is pointed at.
    """

    text: str
    note: str = ""
    verdict: str = ""
    series: int | None = None
    tip: str = ""


Words = str | Cell


@dataclass(frozen=True)
class Table:
    """Rows of cells; each row begins with its heading. `columns` names all, the heading's too.

    `notes` are the paragraphs under it. A `plain` one holds words, which begin at the left.
    """

    columns: Sequence[Words]
    rows: Sequence[tuple[Words, Sequence[Cell]]]
    title: str = ""
    notes: Sequence[Words] = ()
    plain: bool = False


@dataclass(frozen=True)
class Figure:
    """An inline SVG and what it shows."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Text:
    """One text under a heading, such as the method that wrote it.

    `reference`: it is what the others are held against, such as what the user really wrote.
    """

    heading: Words
    text: str
    reference: bool = False


@dataclass(frozen=True)
class Section:
    """A part of the page. `legend` names the lines of its figures, which only HTML shows.

    `texts` are groups (heading, query, texts) shown side by side, and so are the `facts`, narrow
    tables at the end.
    """

    title: str
    note: str = ""
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    legend: Sequence[Cell] = ()
    texts: Sequence[tuple[str, str, Sequence[Text]]] = ()
    facts: Sequence[Table] = ()


@dataclass(frozen=True)
class Finding:
    """What was found of one method, at the head of the page: a line for each verdict."""

    about: Cell
    words: str
    lines: Sequence[Cell]


def in_colours(names: Iterable[str]) -> list[Cell]:
    """Names of what is drawn, in the order of the plots, each with its colour there."""
    return [Cell(name, series=i) for i, name in enumerate(names)]


def facts(heading: str, values: Mapping[str, object]) -> Table:
    """A plain table of a name and a value a row."""
    rows = [(name, [Cell(str(value))]) for name, value in values.items()]
    return Table([heading, ""], rows, plain=True)


def write_page(
    path_html: Path,
    title: str,
    subtitle: str,
    sections: Sequence[Section],
    findings: Sequence[Finding] = (),
) -> None:
    """Write `path_html` and the same name with `.md`; each appears only once complete."""
    view = {"title": title, "subtitle": subtitle, "sections": sections, "findings": findings}
    for kind, path in (("html", path_html), ("md", path_html.with_suffix(".md"))):
        text = template(f"reporting/page.{kind}.j2").render(view)
        with atomic_write(path) as file:
            file.write(text)
