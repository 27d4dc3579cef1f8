"""Any file or folder → a person's past texts; the one table of formats."""

from collections.abc import Callable
from pathlib import Path

from flythinker.data.example import Document, read_documents
from flythinker.data.sources.archives import read_keep, read_tweets, read_zip
from flythinker.data.sources.html import read_html
from flythinker.data.sources.mail import read_eml, read_mbox
from flythinker.data.sources.notes import read_note
from flythinker.data.sources.office import read_docx, read_epub, read_odt, read_pdf, read_rtf
from flythinker.data.sources.reading import Reading, Unreadable
from flythinker.data.sources.walk import walk
from flythinker.data.sources.wordpress import read_wordpress
from flythinker.errors import FlyThinkerError

Reader = Callable[[Path, Reading], list[Document]]
"""Reads one file. Raises `Unreadable` or `OSError` when it gives no text."""

READERS: dict[str, Reader] = {
    **dict.fromkeys((".txt", ".md", ".markdown", ".mdx", ".org"), read_note),
    **dict.fromkeys((".html", ".htm", ".xhtml"), read_html),
    **{".docx": read_docx, ".odt": read_odt, ".rtf": read_rtf, ".pdf": read_pdf},
    **{".epub": read_epub, ".eml": read_eml, ".mbox": read_mbox, ".xml": read_wordpress},
    **{".json": read_keep, ".js": read_tweets},
    ".zip": lambda file, reading: read_zip(file, reading, read_folder),
}


def read_path(path: Path, reading: Reading) -> list[Document]:
    """All texts of one person in a file or a folder, oldest first; an empty file gives none.

    `.jsonl` (one file of it, not in a folder) has a `Document` a line: `{"text", "title", "date"}`.

    Raises:
        FlyThinkerError: no such path, another kind of file, a malformed line, nothing that can be
            read; with `reading.strict` the first thing that cannot.
    """
    if path.is_dir():
        documents = read_folder(path, reading)
        if not documents:
            raise FlyThinkerError(f"{path}: no text in it{_why(reading)}")
    elif not path.is_file():
        raise FlyThinkerError(f"{path}: no such file or folder")
    elif path.suffix.lower() == ".jsonl":
        documents = read_documents(path)
        reading.took("jsonl", documents)
    elif path.suffix.lower() not in READERS:
        known = ", ".join((*READERS, ".jsonl"))
        raise FlyThinkerError(f"{path}: give a folder, or a file of past texts: {known}")
    else:
        skipped, left_out = len(reading.skipped), reading.left_out.total()
        documents = read_file(path, reading)
        if not documents and len(reading.skipped) > skipped:
            raise FlyThinkerError(f"{path}: {reading.skipped[-1].what}")
        if not documents and reading.left_out.total() > left_out:
            raise FlyThinkerError(f"{path}: no past texts in it that are known how to read")
    return sorted(documents, key=lambda document: document.date)


def read_folder(path: Path, reading: Reading) -> list[Document]:
    """All texts under a folder, oldest first; none where nothing can be read."""
    documents = [d for file in walk(path, reading) for d in read_file(file, reading)]
    return sorted(documents, key=lambda document: document.date)


def read_file(file: Path, reading: Reading) -> list[Document]:
    """The texts in one file; `reading` is told what gives none, and why."""
    kind = file.suffix.lower()
    reader = READERS.get(kind)
    if reader is None:
        reading.leave_out(f"{kind} files" if kind else "files without an ending")
        return []
    try:
        documents = reader(file, reading)
    except Unreadable as error:
        reading.skip(file, str(error))
        return []
    except OSError as error:
        reading.skip(file, error.strerror or "cannot be read")
        return []
    except ModuleNotFoundError as error:
        reading.skip(file, f"{error.name} is not installed; `pip install '.[import]'`")
        return []
    if kind != ".zip":  # which has told of its files itself
        reading.took(kind.removeprefix("."), documents)
    return documents


def _why(reading: Reading) -> str:
    """What was there instead, for an error."""
    if reading.skipped:
        first = reading.skipped[0]
        return f" that could be read; {len(reading.skipped)} skipped, {first.where}: {first.what}"
    left_out = ", ".join(reading.left_out)
    return f" that could be read, only {left_out}" if left_out else ""
