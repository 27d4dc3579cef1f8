"""Writing files so that a crash, Ctrl-C or a full disk never leaves a half-written one."""

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from flythinker.disk import named_when_full


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Give a temporary folder that becomes `path` once it is complete.

    An older folder at `path` is replaced at the end; on any exception the temporary folder is
    removed, the older one stays, and the exception goes on.

    Raises:
        DiskFull: there is no room; it names `path`, whatever library wrote.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
    replaced = temporary.with_suffix(".old")
    try:
        with named_when_full(path):
            yield temporary
        os.chmod(temporary, 0o777 & ~_umask())
        if path.exists():
            path.rename(replaced)
        temporary.rename(path)
    except BaseException:
        if replaced.exists() and not path.exists():
            replaced.rename(path)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def content_hash(path: str | Path) -> str:
    """SHA-256 of a file, in hex."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def user_cache() -> Path:
    """Where what can be made again is kept: `$FLYTHINKER_CACHE`, else `~/.cache/flythinker`."""
    return Path(os.environ.get("FLYTHINKER_CACHE", Path.home() / ".cache" / "flythinker"))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def atomic_write(path: str | Path, binary: bool = False) -> Iterator[IO[Any]]:
    """Open a UTF-8 text or binary file that appears at `path` only once complete and on disk.

    The text goes to a temporary name in the same folder and is renamed at the end; on any
    exception (`KeyboardInterrupt`, …) the temporary file is removed, an older file at `path` stays
    as it was, and the exception goes on.

    Raises:
        DiskFull: there is no room; it names `path`. An `OSError` of writing has its name as well.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with named_when_full(path):
        handle, temporary = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"
        )
    try:
        with (
            named_when_full(path),
            open(handle, *(("wb",) if binary else ("w", -1, "utf-8"))) as file,
        ):
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp's are private
        os.replace(temporary, path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in (errno.EFBIG, errno.EIO):
            error.filename = error.filename or str(path)  # of a write it is not known
        raise
