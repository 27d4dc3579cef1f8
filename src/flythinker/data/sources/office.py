"""Files of word processors, PDFs and books."""

from datetime import date, datetime
from pathlib import Path

from flythinker.data.example import Document
from flythinker.data.sources import markdown
from flythinker.data.sources.dates import parse_date
from flythinker.data.sources.decode import decode
from flythinker.data.sources.html import html_text
from flythinker.data.sources.notes import date_and_name
from flythinker.data.sources.reading import Reading, Unreadable


def read_docx(file: Path, reading: Reading) -> list[Document]:
    """A Word document; title and date of its properties."""
    import docx
    import mammoth

    try:
        properties = docx.Document(str(file)).core_properties
        with file.open("rb") as data:
            text = html_text(mammoth.convert_to_html(data).value)
    except OSError:
        raise
    except Exception as error:  # a broken file ends in whatever its library meets first
        raise _broken(error, "Word document") from None
    return _document(file, reading, text, properties.title, properties.created)


def read_odt(file: Path, reading: Reading) -> list[Document]:
    """An OpenDocument text; title and date of its properties."""
    import odfdo

    try:
        document = odfdo.Document(str(file))
        parts = document.body.get_elements("descendant::text:h|descendant::text:p")
        text = "\n\n".join(
            ("# " if part.tag == "text:h" else "") + part.text_recursive for part in parts
        )
        title, created = document.meta.title, document.meta.creation_date
    except OSError:
        raise
    except Exception as error:
        raise _broken(error, "OpenDocument text") from None
    return _document(file, reading, text, title, created)


def read_rtf(file: Path, reading: Reading) -> list[Document]:
    """Rich text, whose fields for title and date few programs fill in."""
    from striprtf.striprtf import rtf_to_text

    raw, _ = decode(file.read_bytes())
    if not raw.lstrip().startswith("{\\rtf"):
        raise Unreadable("not an RTF file")
    return _document(file, reading, rtf_to_text(raw, errors="ignore"), None, None)


def read_pdf(file: Path, reading: Reading) -> list[Document]:
    """The text of a PDF's pages; a scan has none."""
    import pypdf

    try:
        pdf = pypdf.PdfReader(file)
        if pdf.is_encrypted and not pdf.decrypt(""):
            raise Unreadable("it has a password; save it without one")
        text = "\n".join(page.extract_text() for page in pdf.pages)
        facts = pdf.metadata
        title, created = (facts.title, facts.creation_date) if facts else (None, None)
    except (OSError, Unreadable):
        raise
    except Exception as error:
        raise _broken(error, "PDF") from None
    if not text.strip():
        raise Unreadable("no text in its pages (a scan?); run OCR on it first")
    return _document(file, reading, _unwrap(text), title, created)


def read_epub(file: Path, reading: Reading) -> list[Document]:
    """A text a chapter, titled by the book and the chapter's heading."""
    import ebooklib
    from ebooklib import epub

    try:
        book = epub.read_epub(str(file), {"ignore_ncx": True})
        chapters = [book.get_item_with_id(id) for id, _ in book.spine]
        pages = [
            chapter.get_content().decode("utf-8", "replace")
            for chapter in chapters
            if chapter is not None
            and chapter.get_type() == ebooklib.ITEM_DOCUMENT
            and not isinstance(chapter, epub.EpubNav)
        ]
        titles, dates = book.get_metadata("DC", "title"), book.get_metadata("DC", "date")
    except OSError:
        raise
    except Exception as error:
        raise _broken(error, "EPUB") from None
    date, name = date_and_name(file, reading, {"date": dates[0][0]} if dates else {})
    name = titles[0][0] if titles else name
    documents = []
    for page in pages:
        heading, text = markdown.take_heading(html_text(page))
        if text.strip():
            title = f"{name}: {heading}" if heading else name
            documents.append(Document(text.strip(), title, date))
    return documents


def _document(
    file: Path, reading: Reading, text: str, title: str | None, created: datetime | date | None
) -> list[Document]:
    heading, text = markdown.take_heading(text)
    if not text.strip():
        return []
    written = created.isoformat()[:10] if created else ""
    day, name = date_and_name(file, reading, {"date": written} if parse_date(written) else {})
    return [Document(text.strip(), " ".join((title or heading or name).split()), day)]


def _unwrap(text: str) -> str:
    """Lines of a page joined to paragraphs: one ends at a line that ends a sentence early."""
    lines = [line.strip() for line in text.splitlines()]
    width = max(map(len, lines))
    joined = ""
    for line in lines:
        if joined.endswith("-") and line[:1].islower():
            joined = joined[:-1] + line
        else:
            joined += line
        ends = not line or (len(line) < 0.7 * width and line[-1] in '.!?…。！？”"')
        joined += "\n\n" if ends else "" if joined.endswith("-") else " "
    paragraphs = (" ".join(part.split()) for part in joined.split("\n\n"))
    return "\n\n".join(part for part in paragraphs if part)


def _broken(error: Exception, what: str) -> Unreadable:
    return Unreadable(f"not a readable {what} ({' '.join(str(error).split()) or 'broken'})")
