"""Runs that may be killed: what they left goes on, and only with the settings it was begun with."""

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from textwrap import shorten
from typing import Any

import yaml

from flythinker.disk import named_when_full
from flythinker.errors import FlyThinkerError
from flythinker.files import atomic_write, complete_lines

_SHOWN = 3  # settings that an error names


def claim(
    file: Path,
    settings: Mapping[str, Any],
    advice: str,
    started: bool = True,
    counting: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
) -> None:
    """Note what the results in the folder of `file` are made with, so that others never mix in.

    Args:
        file: JSON, or YAML if its name says so.
        settings: all that the results depend on; values that JSON knows.
        advice: for the error, what to do about other settings.
        started: whether there are results; if not, other settings take the place of earlier ones.
        counting: what to compare of the earlier settings; default: all.

    Raises:
        FlyThinkerError: the results were begun with other settings, some of which it names.
    """
    as_yaml = file.suffix == ".yaml"
    text = yaml.safe_dump(settings, sort_keys=False) if as_yaml else json.dumps(settings, indent=1)
    if started and file.exists():
        before = _parse(file.read_text(encoding="utf-8"), file, advice)
        before = counting(before) if counting else before
        _check_same(before, _parse(text, file, advice), file.parent, advice)
        return
    with atomic_write(file) as handle:
        handle.write(text)


class Journal:
    """A file of JSON lines that a run appends to as it goes; a killed one goes on from them.

    Attributes:
        path: of the file.
        entries: what an earlier run added.
    """

    def __init__(
        self, path: Path, settings: Mapping[str, Any] | None = None, advice: str = ""
    ) -> None:
        """Read what is there.

        Args:
            path: a line torn by a kill is cut off it.
            settings: stand in its first line; None where entries fit any run.
            advice: for the error, what to do about other settings.

        Raises:
            FlyThinkerError: it was begun with other settings, some of which it names.
        """
        self.path = path
        with named_when_full(path):
            lines = complete_lines(path)
        if settings is not None and not lines:
            self.add(settings)
        elif settings is not None:
            before = _parse(lines.pop(0), path, advice)
            _check_same(before, _parse(json.dumps(settings), path, advice), path, advice)
        self.entries: list[Any] = [json.loads(line) for line in lines]

    def add(self, *entries: Any) -> None:
        """Append entries; from now on a kill does not lose them.

        Raises:
            DiskFull: there is no room.
        """
        with named_when_full(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(entry) + "\n" for entry in entries))


def _parse(text: str, path: Path, advice: str) -> dict[str, Any]:
    try:
        settings = yaml.safe_load(text) if path.suffix == ".yaml" else json.loads(text)
    except (yaml.YAMLError, json.JSONDecodeError):
        settings = None
    if not isinstance(settings, dict):
        raise FlyThinkerError(f"{path} holds no settings of a run: {advice}")
    return settings


def _check_same(before: dict[str, Any], now: dict[str, Any], path: Path, advice: str) -> None:
    changes = _changes(before, now)
    shown = "; ".join(islice(changes, _SHOWN))
    if shown:
        more = sum(1 for _ in changes)
        others = f"; and {more} more" if more else ""
        raise FlyThinkerError(f"{path} was begun with other settings ({shown}{others}): {advice}")


def _changes(before: dict[str, Any], now: dict[str, Any], section: str = "") -> Iterator[str]:
    """Each setting that differs, as `section.key: old → new`."""
    for key in dict.fromkeys([*before, *now]):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _changes(old, new, f"{section}{key}.")
        elif old != new:
            yield f"{section}{key}: {_short(old)} → {_short(new)}"


def _short(value: Any) -> str:
    return shorten(str(value), 40, placeholder="…")
