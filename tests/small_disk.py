"""Real small disks: file systems of a few MB, mounted for a test."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path


@cache
def may_mount(apart: bool = False) -> bool:
    """Whether this process may mount a file system; `apart`: as root of a namespace of its own.

    The second most kernels allow to anybody.
    """
    command = ["unshare", "-rm" if apart else "-m", "sh", "-c", "mount -t tmpfs none /mnt"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def run_apart(test: str) -> subprocess.CompletedProcess[str]:
    """Run one test, by its node id, where it may mount."""
    command = ["unshare", "-rm", sys.executable, "-m", "pytest", "-p", "no:cacheprovider", test]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of so many MiB at `folder`."""
    folder.mkdir()
    size = f"size={megabytes}m"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path, leave: int = 0) -> Path:
    """Take all room but `leave` bytes; returns the file that has it."""
    file = folder / "filling"
    handle = os.open(file, os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(handle, bytes(4096))
    except OSError:
        os.truncate(file, max(0, file.stat().st_size - leave))
    finally:
        os.close(handle)
    return file
