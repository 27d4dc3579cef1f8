"""A user's past texts, from wherever they are: a data file, a folder or a single file."""

import difflib
from pathlib import Path

from flythinker.data.example import Document, read_examples
from flythinker.data.sources.read import read_path
from flythinker.data.sources.reading import Reading
from flythinker.errors import FlyThinkerError


def read_history(path: Path, reading: Reading | None = None) -> list[Document]:
    """Past texts of one person, oldest first, from all that `read_path` reads.

    Raises:
        FlyThinkerError: no such path, another kind of file, or nothing in it that can be read.
    """
    return read_path(path, reading if reading is not None else Reading())


def history_of_user(data: Path, user_id: str) -> list[Document]:
    """All that a data file knows of a user: the history and the text of the latest example.

    Raises:
        FlyThinkerError: an unknown user; names the closest known ones.
    """
    examples = read_examples(data)
    own = [example for example in examples if example.user_id == user_id]
    if not own:
        users = sorted({example.user_id for example in examples})
        by_lower = {user.lower(): user for user in users}
        close = difflib.get_close_matches(user_id.lower(), by_lower, n=3, cutoff=0.3)
        known = ", ".join(by_lower[name] for name in close) or ", ".join(users[:3])
        raise FlyThinkerError(f"{data}: unknown user '{user_id}'; closest: {known}")
    latest = max(own, key=lambda example: (example.date, len(example.history)))
    written = [e for e in own if e.date == latest.date and e.target.strip()]
    return [*latest.history, *(Document(e.target, "", e.date) for e in written)]
