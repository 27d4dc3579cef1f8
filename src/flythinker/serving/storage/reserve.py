"""Room that is kept for deleting: even that needs some, for SQLite's log."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock

from flythinker.disk import says_full

RESERVE_BYTES = 8 * 2**20

_CHUNK = 2**16


class Reserve:
    """A file beside the database that nobody reads. All methods may be called from any thread."""

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(f"{database.name}.reserve")
        self._lock = RLock()

    def fill(self) -> bool:
        """Make it whole, or as large as there is room for; whether it is whole."""
        with self._lock:
            if self._size() >= RESERVE_BYTES:
                return True
            try:
                with self.path.open("ab", buffering=0) as file:
                    while (missing := RESERVE_BYTES - self._size()) > 0:
                        # random: a file system that compresses would give zeros no room
                        file.write(os.urandom(min(missing, _CHUNK)))
            except OSError as error:
                if not says_full(error, self.path):
                    raise
            return self._size() >= RESERVE_BYTES

    @contextmanager
    def given_up(self) -> Iterator[None]:
        """Its room is free inside; whoever wants to fill it waits."""
        with self._lock:
            self.path.unlink(missing_ok=True)
            try:
                yield
            finally:
                self.fill()

    def _size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0
