"""The real command line, in a process of its own."""

import os
import resource
import subprocess
import sys

COMMAND = [sys.executable, "-c", "from flythinker.cli.main import main; main()"]
ENVIRONMENT = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def flythinker(
    *arguments: object,
    file_limit: int | None = None,
    environment: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command; no file may grow over `file_limit` bytes, as on a disk that gets full.

    `environment` is on top of `ENVIRONMENT`.
    """

    def limit() -> None:
        if file_limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=ENVIRONMENT | (environment or {}),
        timeout=300,
        preexec_fn=limit,
        check=False,
    )


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
