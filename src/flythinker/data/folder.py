"""People's own texts in folders, and as examples to train on."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from flythinker.data.example import Document, Example
from flythinker.data.occasions import examples_by_occasion
from flythinker.data.passages import temporal_split
from flythinker.data.sources.read import read_folder, read_path
from flythinker.data.sources.reading import Reading
from flythinker.errors import FlyThinkerError
from flythinker.progress import track


def read_users(
    path: Path, user: str | None = None, reading: Reading | None = None
) -> dict[str, list[Document]]:
    """The texts of each user, oldest first, from a file, a folder or a folder of users' folders.

    All of `path` is `user`'s. Without `user` a folder that has only sub-folders has a user in
    each; one without texts is nothing. `reading` is told which of both was assumed.

    Raises:
        FlyThinkerError: there is no text at all, see also `read_path`.
    """
    reading = reading if reading is not None else Reading()
    if user is not None:
        return {user: read_path(path, reading)}
    if not path.is_dir():
        raise FlyThinkerError(f"{path}: no such folder; say whose a file's texts are by --user")
    path = path.resolve()
    entries = [entry for entry in sorted(path.iterdir()) if not entry.name.startswith(".")]
    if not entries or not all(entry.is_dir() for entry in entries):
        reading.assume(f"all texts are one person's, '{path.name}'; --user gives another name")
        return {path.name: read_path(path, reading)}
    reading.assume("each sub-folder is a person; --user NAME makes one person of all")
    users = {
        folder.name: texts
        for folder in track(entries, "Reading users", transient=True)
        if (texts := read_folder(folder, reading))
    }
    if not users:
        raise FlyThinkerError(f"{path}: no text in it")
    return users


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
