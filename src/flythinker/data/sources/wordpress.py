"""WordPress's export (Tools, Export): an `.xml` file of posts and pages."""

from pathlib import Path

from flythinker.data.example import Document
from flythinker.data.sources.dates import parse_date
from flythinker.data.sources.html import html_text
from flythinker.data.sources.reading import Reading, Unreadable

_CONTENT = "{http://purl.org/rss/1.0/modules/content/}encoded"


def read_wordpress(file: Path, reading: Reading) -> list[Document]:
    """Published posts and pages; other `.xml` files are left out."""
    from defusedxml.ElementTree import ParseError, parse

    with file.open("rb") as data:
        if b"wordpress.org/export/" not in data.read(10_000):
            reading.leave_out(".xml files")
            return []
    try:
        items = parse(file).getroot().iter("item")
    except ParseError as error:
        raise Unreadable(f"not valid XML: {error}") from None
    documents = []
    for item in items:
        # the namespace has the export's version in it
        fields = {tag.tag.rpartition("}")[2]: tag.text or "" for tag in item}
        if fields.get("post_type", "post") not in ("post", "page"):
            continue
        if fields.get("status", "publish") != "publish":
            reading.leave_out("drafts that were not published")
        elif text := html_text(_paragraphs(item.findtext(_CONTENT) or "")):
            date = parse_date(fields.get("post_date", "")) or ""
            documents.append(Document(text, " ".join(fields.get("title", "").split()), date))
    return documents


def _paragraphs(html: str) -> str:
    """WordPress's old editor writes paragraphs as blank lines."""
    if "<p" in html:
        return html
    return "".join(f"<p>{part}</p>" for part in html.replace("\r\n", "\n").split("\n\n"))
