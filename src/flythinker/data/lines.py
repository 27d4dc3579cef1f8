"""Where each example of a JSONL file stands, so that any of them is read without the others."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flythinker.data.example import Example, example_parser
from flythinker.data.records import parse_json
from flythinker.errors import FlyThinkerError


class ExampleLines:
    """The examples of a file, of which places and users are in memory, and no text.

    Attributes:
        offsets: of each example's first byte in the file; `[examples]`.
        numbers: of each example's line, from 1; `[examples]`.
        users: number of each example's user, in the order they first come; `[examples]`.
    """

    def __init__(self, path: Path, malformed: list[tuple[int, str]] | None = None) -> None:
        """Read the file once and check every line.

        Malformed ones are left out and told to the list, by number and what is wrong.

        Raises:
            FlyThinkerError: a malformed line, as `read_examples`, if there is no such list.
        """
        self.path = path
        offsets, numbers, users = [], [], []
        known: dict[str, int] = {}
        offset = 0
        parse = example_parser(path)
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    if line.strip():
                        example = read_line(line, f"{path}:{number}", parse)
                        offsets.append(offset)
                        numbers.append(number)
                        users.append(known.setdefault(example.user_id, len(known)))
                except FlyThinkerError as error:
                    if malformed is None:
                        raise
                    malformed.append((number, str(error)))
                offset += len(line)
        self.offsets: NDArray[np.int64] = np.array(offsets, dtype=np.int64)
        self.numbers: NDArray[np.int64] = np.array(numbers, dtype=np.int64)
        self.users: NDArray[np.int64] = np.array(users, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.offsets)


def read_line(line: bytes, where: str, parse: Callable[[Any, str], Example]) -> Example:
    """The example of a line, by `example_parser` of its file.

    Raises:
        FlyThinkerError: it is none; `where` begins the message.
    """
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise FlyThinkerError(f"{where}: not UTF-8 text: {error.reason}") from None
    return parse(parse_json(text, where), where)
