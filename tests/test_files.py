import os
import resource
from contextlib import contextmanager
from pathlib import Path

import pytest

from flythinker.files import atomic_folder, atomic_write


def write_text(path: Path, text: str) -> None:
    with atomic_write(path) as file:
        file.write(text)


def write_folder(path: Path, text: str) -> None:
    with atomic_folder(path) as folder:
        (folder / "text").write_text(text)


def read(path: Path) -> str:
    return (path / "text" if path.is_dir() else path).read_text()


def stop_writing_text(path: Path, by: type[BaseException]) -> None:
    with atomic_write(path) as file:
        file.write("half")
        raise by


def stop_writing_folder(path: Path, by: type[BaseException]) -> None:
    with atomic_folder(path) as folder:
        (folder / "text").write_text("half")
        raise by


@pytest.fixture
def umask():
    """A umask other than the usual one, for the time of a test."""
    before = os.umask(0o027)
    yield
    os.umask(before)


@contextmanager
def full_disk():
    """The kernel refuses to let any file grow beyond 4 KiB, as a full disk would.

    Python ignores the signal that comes with it, so a write raises OSError. Not a fixture: pytest
    itself may write to a longer file while a fixture lives.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_appears_with_its_parents_and_is_replaced(tmp_path):
    file = tmp_path / "a" / "b.txt"
    write_text(file, "älter")
    write_text(file, "neu")
    assert file.read_bytes() == b"neu"
    assert os.listdir(file.parent) == ["b.txt"]


def test_a_file_has_its_old_content_until_the_end(tmp_path):
    file = tmp_path / "b.txt"
    write_text(file, "old")
    with atomic_write(file) as handle:
        handle.write("new")
        handle.flush()
        assert file.read_text() == "old"
    assert file.read_text() == "new"


def test_a_folder_replaces_an_older_one_whole(tmp_path):
    folder = tmp_path / "a" / "model"
    write_folder(folder, "old")
    (folder / "only in the old one").touch()
    write_folder(folder, "new")
    assert os.listdir(folder) == ["text"]
    assert (folder / "text").read_text() == "new"
    assert os.listdir(folder.parent) == ["model"]


@pytest.mark.parametrize("by", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize(
    ("write", "stop"), [(write_text, stop_writing_text), (write_folder, stop_writing_folder)]
)
def test_an_exception_leaves_the_old_one_and_nothing_else(tmp_path, write, stop, by):
    path = tmp_path / "target"
    with pytest.raises(by):
        stop(path, by)
    assert os.listdir(tmp_path) == []
    write(path, "old")
    with pytest.raises(by):
        stop(path, by)
    assert os.listdir(tmp_path) == ["target"]
    assert read(path) == "old"


def test_a_folder_that_cannot_take_its_place_leaves_the_old_one(tmp_path):
    folder = tmp_path / "model"
    write_folder(folder, "old")
    with pytest.raises(FileNotFoundError), atomic_folder(folder) as partial:
        partial.rmdir()  # what should take the place is gone
    assert os.listdir(tmp_path) == ["model"]
    assert (folder / "text").read_text() == "old"


@pytest.mark.usefixtures("umask")
def test_permissions_follow_the_umask(tmp_path):
    write_text(tmp_path / "b.txt", "")
    write_folder(tmp_path / "model", "")
    assert (tmp_path / "b.txt").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "model").stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize("write", [write_text, write_folder])
def test_a_full_disk_leaves_the_old_one_and_nothing_else(tmp_path, write):
    path = tmp_path / "target"
    write(path, "old")
    with full_disk(), pytest.raises(OSError, match="File too large"):
        write(path, "x" * 100_000)
    assert os.listdir(tmp_path) == ["target"]
    assert read(path) == "old"
