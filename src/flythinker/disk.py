"""Room on disks: what is about to be written against what is free, and errors of full disks."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.filesize import decimal

from flythinker.errors import FlyThinkerError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
# what safetensors (its error is no OSError) and others say in the operating system's words
_SAID = ("No space left on device", "Disk quota exceeded")
# torch.save keeps the reason to itself
_OF_TORCH = ("inline_container", "PytorchStreamWriter", "iostream error")
_PROBE = 2**16


class DiskFull(FlyThinkerError):
    """There is no room for a file or folder; the message names it."""


def free_bytes(path: str | Path) -> int:
    """Bytes that may still be written where `path` is or will be.

    Of a quota it knows what the file system tells (`statvfs`), as that of a container's volume.
    """
    return shutil.disk_usage(_existing(Path(path))).free


def require_room(path: str | Path, needed: int, what: str = "", advice: str = "") -> None:
    """Refuse to begin what surely cannot end.

    Args:
        path: file or folder that is about to be written; it need not be there.
        needed: the bytes that it will take at least.
        what: they are for, where `path` does not say it.
        advice: what else than making room helps.

    Raises:
        DiskFull: less is free.
    """
    free = free_bytes(path)
    if needed > free:
        of = f" ({what})" if what else ""
        other = f", or {advice}" if advice else ""
        raise DiskFull(
            f"{path}: needs at least {decimal(needed)}{of}, but {decimal(free)} are free on its "
            f"disk: make room{other}"
        )


@contextmanager
def named_when_full(path: str | Path) -> Iterator[None]:
    """Turn what any library raises when the disk is full into one line that names `path`.

    Raises:
        DiskFull: in place of that.
    """
    try:
        yield
    except Exception as error:
        if not says_full(error, Path(path)):
            raise
        raise DiskFull(
            f"{path}: no room for it, its disk is full: make room and run the same command again"
        ) from error


def says_full(error: BaseException, path: Path) -> bool:
    """Whether an error of writing to `path` means that there is no room."""
    if isinstance(error, OSError):
        return error.errno in _NO_ROOM
    said = str(error)
    if any(words in said for words in _SAID):
        return True
    return any(words in said for words in _OF_TORCH) and not has_room(path)


def has_room(path: str | Path) -> bool:
    """Whether a small file can be written where `path` is; a quota may forbid what looks free."""
    try:
        with tempfile.TemporaryFile(dir=_existing(Path(path)), buffering=0) as file:
            file.write(bytes(_PROBE - 1))
            file.write(b"1")  # nothing of a file that is all full may be written at all
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno not in _NO_ROOM  # of another problem this is not to judge
    return True


def _existing(path: Path) -> Path:
    """The nearest folder that is there."""
    path = path.absolute()
    return path if path.is_dir() else _existing(path.parent)
