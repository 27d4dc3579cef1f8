"""Who is learned next: a queue that the store alone remembers, and one process at a time."""

import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, RLock, Thread
from typing import Literal

from filelock import FileLock, Timeout

from flythinker.adapter import About, load_adapter
from flythinker.disk import DiskFull
from flythinker.serving.learning.process import LearningProcess
from flythinker.serving.storage.adapters import Candidate, Material
from flythinker.serving.storage.store import Store
from flythinker.serving.storage.user_index import Owner

logger = logging.getLogger(__name__)

LOCK = "lock"
"""File in a learner's folder that says that one is at work."""

_LOOK_SECONDS = 5.0
"""Between two looks into the store for new texts."""

_QUIET_SECONDS = 2.0
"""Without a text being written, after which learning begins or goes on."""

_POLL_SECONDS = 0.02
"""The longest that learning goes on beside a text that is begun."""


class Learner:
    """Learns users who have enough new words, whenever the server writes nothing.

    A user waits until a process has learned all texts that there were when it began. What came of
    it is noted in the store, so nothing is lost when the server ends: the queue is who has enough
    words that no try has read, and a process goes on from the checkpoints in its folder.
    """

    def __init__(
        self,
        store: Store,
        busy: Callable[[], bool],
        model: str,
        base: str,
        words: int,
        work: Path,
    ) -> None:
        """Nothing is learned before `start`.

        Args:
            store: of the users.
            busy: whether texts are being written or waiting.
            model: folder or name of the model that is served.
            base: its fingerprint.
            words: so many new ones are enough.
            work: folder for what is being learned; of this learner and database alone.
        """
        self._store, self._busy = store, busy
        self._model, self._base, self._words = model, base, words
        self._work = work
        self._enough: dict[Candidate, bool] = {}  # what the last look found
        self._queue: list[Candidate] = []
        self._process: LearningProcess | None = None
        self._learned: tuple[str, str] | None = None  # tenant and user of the process
        self._lock = RLock()  # of the queue and the process
        self._alone = FileLock(work / LOCK, thread_local=False)
        self._stop = Event()
        self._thread = Thread(target=self._run, name="learner", daemon=True)

    def start(self) -> None:
        """Begin to look for users to learn."""
        self._thread.start()

    def close(self) -> None:
        """End; what is being learned goes on when a learner starts with the same folder."""
        self._stop.set()
        self._thread.join()

    def status(self, tenant: str, user: str) -> Literal["learning", "queued", "idle"]:
        """Whether a user is being learned, or waits for it."""
        with self._lock:
            if self._learned == (tenant, user):
                return "learning"
            waiting = any((one.tenant, one.user) == (tenant, user) for one in self._queue)
            return "queued" if waiting else "idle"

    @property
    def waiting(self) -> int:
        """Users who wait, and the one who is being learned."""
        with self._lock:
            return len(self._queue)

    def drop(self, tenant: str, user: str) -> None:
        """Stop learning a user, whose texts or adapter were just forgotten, without a trace."""
        with self._lock:
            self._queue = [c for c in self._queue if (c.tenant, c.user) != (tenant, user)]
            if self._process and self._learned == (tenant, user):
                self._process.discard()
            if self._alone.is_locked:
                self._clear()

    # All that follows runs in the thread.

    def _run(self) -> None:
        self._work.mkdir(mode=0o700, parents=True, exist_ok=True)
        while not self._stop.wait(_LOOK_SECONDS):
            try:
                if not self._alone.is_locked:
                    self._alone.acquire(timeout=0)
                self._look_and_learn()
            except Timeout:
                pass  # another server of this database learns here
            except Exception:
                logger.exception("learning users failed")
        self._alone.release()

    def _look_and_learn(self) -> None:
        while not self._stop.is_set() and not self._busy():
            self._look()
            if not self._queue:
                return
            self._learn(self._queue[0])

    def _look(self) -> None:
        found: dict[Candidate, bool] = {}
        for one in self._store.candidates(self._base):
            if one not in self._enough:
                while self._busy() and not self._stop.wait(_POLL_SECONDS):
                    pass
                if self._stop.is_set():
                    return
                self._enough[one] = self._store.new_words(one, self._words) >= self._words
            found[one] = self._enough[one]
        self._enough = found
        queue = [candidate for candidate, enough in found.items() if enough]
        queue.sort(key=lambda one: not self._folder(one.owner).exists())  # who was begun is first
        with self._lock:
            self._queue = queue

    def _learn(self, candidate: Candidate) -> None:
        with self._lock:  # whoever is forgotten from here on is dropped
            material = self._store.material(candidate.tenant, candidate.user)
            if material is None:
                return
            folder = self._folder(material.owner)
            self._clear(folder)
            process = self._process = LearningProcess(folder)
            self._learned = candidate.tenant, candidate.user
        try:
            process.learn(self._model, candidate.user, material.texts.values())
            self._wait_for(process)
            with self._lock:
                dropped = not folder.exists()
            if not self._stop.is_set() and not dropped:
                self._keep(candidate, material, process)
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            with self._lock:
                process.kill()
                self._process = self._learned = None

    def _wait_for(self, process: LearningProcess) -> None:
        """Until it has ended, by itself or because it must; it works only while it is quiet."""
        quiet_since = time.monotonic()
        while process.running and not self._stop.wait(_POLL_SECONDS):
            now = time.monotonic()
            if self._busy():
                quiet_since = now
                process.pause(True)
            elif now - quiet_since > _QUIET_SECONDS:
                process.pause(False)

    def _keep(self, candidate: Candidate, material: Material, process: LearningProcess) -> None:
        result = process.result()
        try:
            if "failed" in result:
                logger.error("a user could not be learned", extra=result)
                why = "learning failed; the server's log says how"
                self._store.note_failure(material, self._base, why)
            elif result["why"]:
                about = About(**result["about"]) if result["about"] else None
                self._store.note_failure(material, self._base, result["why"], about)
            else:
                adapter = load_adapter(process.folder / "adapter")
                self._store.keep_adapter(material, adapter)
        except DiskFull:
            logger.warning("what was learned of a user could not be kept: the disk is full")
            self._enough[candidate] = False  # until there are new texts

    def _clear(self, but: Path | None = None) -> None:
        """Delete what an earlier server left half learned: nobody knows any more whose it is.

        Except what lies in the folder `but`, or is being learned.
        """
        kept = {but, self._process.folder if self._process else None}
        for folder in self._work.glob("*-*-*"):
            if folder not in kept:
                shutil.rmtree(folder)

    def _folder(self, owner: Owner) -> Path:
        return self._work / f"{owner.number}-{owner.epoch}-{owner.version}"
