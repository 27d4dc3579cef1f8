"""The files under a folder that may hold texts."""

import os
from collections.abc import Iterator
from pathlib import Path

from flythinker.data.sources.reading import Reading

_NOT_TEXTS = {"__MACOSX", "node_modules"}


def walk(folder: Path, reading: Reading) -> Iterator[Path]:
    """Files under `folder` by name; hidden ones are left out, what cannot be opened is named."""

    def refused(error: OSError) -> None:
        reading.skip(error.filename or folder, error.strerror or "cannot be read")

    for parent, folders, files in os.walk(folder, onerror=refused):
        hidden = sorted(name for name in folders if name.startswith(".") or name in _NOT_TEXTS)
        for name in hidden:
            reading.leave_out(f"folders named {name}")
        folders[:] = sorted(set(folders) - set(hidden))
        for name in sorted(files):
            file = Path(parent, name)
            if name.startswith("."):
                continue
            if not file.exists():
                reading.skip(file, "a link to nothing")
            elif not file.is_file():
                reading.skip(file, "not a file")
            else:
                yield file
        for name in folders:
            if Path(parent, name).is_symlink():  # not followed: it may lead round in a circle
                reading.leave_out("links to folders")
