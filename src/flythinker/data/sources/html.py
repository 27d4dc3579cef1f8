"""Web pages: saved ones, and those inside other formats; a Substack export's posts."""

import csv
import re
from pathlib import Path
from typing import TYPE_CHECKING

from flythinker.data.example import Document
from flythinker.data.sources import markdown
from flythinker.data.sources.dates import parse_date
from flythinker.data.sources.decode import read_text
from flythinker.data.sources.notes import date_and_name
from flythinker.data.sources.reading import Reading

if TYPE_CHECKING:
    from bs4 import BeautifulSoup

_AROUND = ("script", "style", "nav", "header", "footer", "aside", "form", "figure", "pre")
_ESCAPED = re.compile(r"\\([-+.#*_()!\[\]])")  # as markdown, not as a person writes
_QUOTES = ("blockquote", ".gmail_quote", ".moz-cite-prefix")
_DATE_NAMES = ("article:published_time", "date", "dc.date", "dcterms.created", "pubdate")


def read_html(file: Path, reading: Reading) -> list[Document]:
    """The article of a page; of a Substack export its published posts, by `posts.csv`."""
    from bs4 import BeautifulSoup

    post = _substack_post(file)
    if post is not None and post.get("is_published", "true").lower() != "true":
        reading.leave_out("drafts that were not published")
        return []
    soup = BeautifulSoup(read_text(file, reading), "lxml")
    page_title, page_date = _head(soup)
    heading, text = markdown.take_heading(html_text(str(soup)))
    if not text.strip():
        return []
    written = post["post_date"] if post else page_date
    date, name = date_and_name(file, reading, {"date": written} if written else {})
    title = (post["title"] if post else heading or page_title) or name
    return [Document(text.strip(), " ".join(title.split()), date)]


def html_text(html: str, quotes: bool = True) -> str:
    """What a page says, as markdown without links and images; `quotes` keeps quoted texts."""
    from bs4 import BeautifulSoup
    from html2text import HTML2Text

    soup = BeautifulSoup(html, "lxml")
    article = soup.select_one("article") or soup.select_one("main") or soup.body or soup
    for element in article.select(", ".join([*_AROUND, *([] if quotes else _QUOTES)])):
        if element.decomposed:
            continue  # inside of one that is gone
        if element.name != "header" or element.parent is soup.body:  # an article's has its title
            element.decompose()
    converter = HTML2Text(bodywidth=0)
    converter.ignore_links = converter.ignore_images = converter.ignore_emphasis = True
    converter.unicode_snob = True
    text = _ESCAPED.sub(r"\1", converter.handle(str(article)))
    return re.sub(r"[ \t]+\n", "\n", re.sub(r"\n\s*\n", "\n\n", text)).strip()


def _head(soup: "BeautifulSoup") -> tuple[str, str]:
    """Title and date that a page gives itself, each may be empty."""
    title = soup.title.get_text() if soup.title else ""
    for tag in soup.select("meta"):
        name = str(tag.get("property") or tag.get("name") or tag.get("itemprop") or "").lower()
        if name in _DATE_NAMES and parse_date(str(tag.get("content", "")), day_first=True):
            return title, str(tag["content"])
    time = soup.select_one("time[datetime]")
    return title, str(time["datetime"]) if time else ""


def _substack_post(file: Path) -> dict[str, str] | None:
    """The row of a post in the export's table, which lies beside its folder `posts`."""
    table = file.parent.parent / "posts.csv"
    if file.parent.name != "posts" or not table.is_file():
        return None
    with table.open(encoding="utf-8-sig", newline="") as lines:
        rows = {row.get("post_id", ""): row for row in csv.DictReader(lines)}
    row = rows.get(file.stem) or rows.get(file.stem.partition(".")[0])
    return row if row and "post_date" in row and "title" in row else None
