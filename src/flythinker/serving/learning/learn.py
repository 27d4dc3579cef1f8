"""What the process of one user does: `adapt`, as `flythinker adapt` calls it.

It is told what to learn in one line of JSON on standard input, so that no text, user or password
stands in a command, and it ends when that input does: with the server. It writes what came of it
to `result.json`, and an adapter that is kept to `adapter`.
"""

import json
import os
import sys
import traceback
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from threading import Thread
from typing import Any

from flythinker.data.document import Document
from flythinker.errors import FlyThinkerError
from flythinker.files import atomic_write


def main() -> None:
    """Learn one user."""
    task = json.loads(sys.stdin.buffer.readline())
    os.nice(task["nice"])
    with suppress(OSError):  # of Linux: when memory ends, this ends before the server
        Path("/proc/self/oom_score_adj").write_text("1000")
    Thread(target=_end_with_the_server, daemon=True).start()
    folder = Path(task["folder"])
    try:
        result = _learn(task["model"], task["user"], task["documents"], folder)
    except Exception as error:  # what it says may quote a text, and the place does not
        place = "".join(traceback.format_tb(error.__traceback__))
        result = {"failed": type(error).__qualname__, "traceback": place}
    with atomic_write(folder / "result.json") as file:
        json.dump(result, file)


def _learn(model: str, user: str, texts: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
    from flythinker.adaptation.adapt import adapt
    from flythinker.adaptation.teaching import split_newest
    from flythinker.adapter import save_adapter
    from flythinker.model_folder import load_model_folder

    documents = [Document.from_record(text) for text in texts]
    try:
        split_newest(user, documents)
    except FlyThinkerError as error:
        return {"why": str(error), "about": None}
    outcome = adapt(load_model_folder(model), user, documents, folder / "work")
    if outcome.kept:
        save_adapter(folder / "adapter", outcome.adapter)
    return {"why": outcome.why, "about": asdict(outcome.adapter.about)}


def _end_with_the_server() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
