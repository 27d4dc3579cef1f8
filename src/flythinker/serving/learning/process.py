"""The process that learns one user: apart from the server, and with the least claim to anything."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from flythinker.data.document import Document

NICE = 19
"""The lowest priority."""


class LearningProcess:
    """A process that runs `learn`: of the lowest priority, with one thread, on the CPU.

    It never touches the database, so that it may be stopped at any moment. When the server is
    killed it ends: by the end of its input, and if it is paused by the signal that POSIX sends to a
    process group of its own whose last connection to its session has gone.

    Attributes:
        folder: its own, with its checkpoints, in which one that was killed goes on.
    """

    def __init__(self, folder: Path) -> None:
        """Start it; see `learn` for what it is to do."""
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "result.json").unlink(missing_ok=True)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "flythinker.serving.learning.learn"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            process_group=0,
        )
        self._paused = False

    def learn(self, model: str, user: str, documents: Iterable[Document]) -> None:
        """Let it learn `user` for the model of that folder or name; from a checkpoint on."""
        task = {
            "folder": str(self.folder.resolve()),
            "nice": NICE,
            "model": model,
            "user": user,
            "documents": [each.record() for each in documents],
        }
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended already, which `result` says
            self._process.stdin.write(json.dumps(task).encode() + b"\n")
            self._process.stdin.flush()

    @property
    def running(self) -> bool:
        """Whether it has not ended; also while it is paused."""
        return self._process.poll() is None

    def pause(self, wanted: bool) -> None:
        """Stop all work at once, or go on."""
        if wanted != self._paused:
            self._paused = wanted
            self._signal(signal.SIGSTOP if wanted else signal.SIGCONT)

    def kill(self) -> None:
        """End it now; its checkpoints stay."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def discard(self) -> None:
        """End it, and leave nothing of it on the disk."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def result(self) -> dict[str, Any]:
        """What it wrote at its end: see `learn`; of one that broke down its exit code."""
        file = self.folder / "result.json"
        if file.exists():
            return dict(json.loads(file.read_text()))
        return {"failed": f"exit code {self._process.wait()}", "traceback": ""}

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
