"""A person's own `.txt` and `.md` files as documents, and as examples to train on."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from flythinker.data.example import Document, Example, is_iso_date
from flythinker.data.passages import examples_by_occasion, temporal_split
from flythinker.errors import FlyThinkerError
from flythinker.progress import track

_FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)\n---\s*(?:\n|\Z)", re.DOTALL)
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*\s*$", re.MULTILINE)
_NAME_DATE = re.compile(r"^(\d{4}(?:-\d{2}(?:-\d{2})?)?)(?:[-_ .]+|$)")


def read_folder(path: str | Path) -> list[Document]:
    """Read all texts under `path`, oldest first; empty and hidden files are skipped.

    Title: front matter, else the first markdown heading, else the file name. Date: front matter,
    else a file name like `2024-05-01-rain.md`, else the time of the last change. Raises
    `FlyThinkerError` for a missing or empty folder and for a file that is not UTF-8.
    """
    path = Path(path)
    if not path.is_dir():
        raise FlyThinkerError(f"{path}: no such folder")
    files = [
        file
        for file in sorted(path.rglob("*"))
        if file.suffix.lower() in (".txt", ".md") and not file.name.startswith(".")
    ]
    documents = [document for file in files if (document := read_document(file))]
    if not documents:
        raise FlyThinkerError(f"{path}: no .txt or .md file with text in it")
    return sorted(documents, key=lambda document: document.date)


def read_users(path: str | Path) -> dict[str, list[Document]]:
    """Read one user a sub-folder when `path` has only sub-folders, else `path` as one user."""
    path = Path(path).resolve()
    entries = [entry for entry in path.glob("*") if not entry.name.startswith(".")]
    if entries and all(entry.is_dir() for entry in entries):
        folders = track(sorted(entries), "Reading users", transient=True)
        return {folder.name: read_folder(folder) for folder in folders}
    return {path.name: read_folder(path)}


def examples_from_documents(
    writings: Mapping[str, Sequence[Document]],
) -> dict[str, list[Example]]:
    """Build train, val and test from the dated documents of each user, by the recipe of `sotu`.

    Raises `FlyThinkerError` when no user has texts of two different dates.
    """
    splits = temporal_split(examples_by_occasion(writings))
    if not any(splits.values()):
        raise FlyThinkerError(
            "nothing to learn from: no user has texts of two different dates, the later with at "
            "least 60 words after its first sentence; date them in their names: 2024-05-01-x.md"
        )
    return splits


def read_document(file: Path) -> Document | None:
    """Read one `.txt` or `.md` file; `None` if there is no text in it."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise FlyThinkerError(f"{file}: not UTF-8 text; save it as UTF-8") from None
    matter, text = _split_front_matter(text, file)
    named = _NAME_DATE.match(file.stem)
    heading = _HEADING.search(text) if file.suffix.lower() == ".md" else None
    if heading and not text[: heading.start()].strip():
        text = text[heading.end() :]  # the title stands above the text
    if not text.strip():
        return None
    stem = file.stem[named.end() :] if named else file.stem
    title = str(
        matter.get("title") or (heading and heading[1]) or re.sub(r"[-_]+", " ", stem or file.stem)
    )
    changed = datetime.fromtimestamp(file.stat().st_mtime).date().isoformat()
    date = str(matter.get("date") or (named and is_iso_date(named[1]) and named[1]) or changed)
    date = date[:10]  # a front matter may give the time of the day
    if not is_iso_date(date):
        raise FlyThinkerError(f"{file}: front matter 'date': expected 2024-05-01, got '{date}'")
    return Document(text.strip(), title.strip(), date)


def _split_front_matter(text: str, file: Path) -> tuple[dict[str, Any], str]:
    match = _FRONT_MATTER.match(text)
    if not match:
        return {}, text
    try:
        matter = yaml.safe_load(match[1])
    except yaml.YAMLError as error:
        problem = str(error).splitlines()[0]
        raise FlyThinkerError(f"{file}: the front matter is not valid YAML: {problem}") from None
    # A text may begin with a rule (---) that is no front matter.
    return (matter, text[match.end() :]) if isinstance(matter, dict) else ({}, text)
