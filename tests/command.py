"""The real command line, in a process of its own."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import forkserver, get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from flythinker.cli.main import main

COMMAND = [sys.executable, "-c", "from flythinker.cli.main import main; main()"]
ENVIRONMENT = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
SECONDS = 300
"""What a command may take."""

# Imports are most of what a command costs: about 6 s, and there are a hundred of them. So they are
# forked from a process that has imported, and done nothing else, whose fork is as good as new.
_FORKS = get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        "flythinker.cli.main",
        "flythinker.comparison.report",
        "flythinker.evaluation.evaluate",
        "flythinker.generation.write",
        "flythinker.methods.registry",
        "flythinker.training.run",
        "matplotlib.pyplot",
    ]
)


def flythinker(
    *arguments: object,
    file_limit: int | None = None,
    environment: dict[str, str] | None = None,
    before: Callable[[], None] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command; no file may grow over `file_limit` bytes, as on a disk that gets full.

    `environment` is on top of `ENVIRONMENT`; a command with one of its own is not forked. `before`
    is called first in the process that is.
    """
    command = [*map(str, arguments)]
    if environment is not None:
        return subprocess.run(
            [*COMMAND, *command],
            capture_output=True,
            text=True,
            env=ENVIRONMENT | environment,
            timeout=SECONDS,
            check=False,
        )
    with patch.dict(os.environ, ENVIRONMENT):
        forkserver.ensure_running()
    with TemporaryDirectory() as folder:
        streams = Path(folder) / "out", Path(folder) / "err"
        process = _FORKS.Process(target=_run, args=(command, streams, file_limit, before))
        process.start()
        process.join(SECONDS)
        if process.is_alive():
            process.kill()
            raise subprocess.TimeoutExpired(command, SECONDS)
        out, err = (stream.read_bytes().decode() for stream in streams)
    return subprocess.CompletedProcess(command, int(process.exitcode or 0), out, err)


def _run(
    command: list[str],
    streams: tuple[Path, Path],
    file_limit: int | None,
    before: Callable[[], None] | None,
) -> None:
    """What a forked process does: it is as if the shell had started it."""
    for number, stream in enumerate(streams, 1):
        os.dup2(os.open(stream, os.O_CREAT | os.O_WRONLY | os.O_APPEND), number)
    if file_limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
    if before is not None:
        before()
    sys.argv = ["flythinker", *command]
    main()


def succeed(*arguments: object) -> str:
    """Run a command that must succeed; returns what it printed."""
    done = flythinker(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fail(*arguments: object, code: int = 1, file_limit: int | None = None) -> str:
    """Run a command that must fail without a traceback; returns its error line."""
    done = flythinker(*arguments, file_limit=file_limit)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr
