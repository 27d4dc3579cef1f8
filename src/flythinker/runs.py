"""Runs that may be killed: what they left goes on, and only with the settings it was begun with."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any

import yaml

from flythinker.disk import named_when_full
from flythinker.errors import FlyThinkerError
from flythinker.files import atomic_write

Settings = Mapping[str, Any]
_SHOWN = 3  # settings that an error names


def claim(
    file: Path,
    settings: Settings,
    advice: str,
    started: bool = True,
    counting: Callable[[dict[str, Any]], Settings] = dict,
) -> None:
    """Note what the results in the folder of `file` are made with, so that others never mix in.

    Args:
        file: JSON, or YAML if its name says so.
        settings: all that the results depend on; values that JSON knows.
        advice: for the error, what to do about other settings.
        started: whether there are results; if not, other settings take the place of earlier ones.
        counting: picks what to compare of the earlier settings; default: all.

    Raises:
        FlyThinkerError: the results were begun with other settings, some of which it names.
    """
    as_yaml = file.suffix == ".yaml"
    text = yaml.safe_dump(settings, sort_keys=False) if as_yaml else json.dumps(settings, indent=1)
    if started and file.exists():
        parse = yaml.safe_load if as_yaml else json.loads
        before = _parsed(file.read_text(encoding="utf-8"), parse, file, advice)
        _check_same(counting(before), parse(text), file.parent, advice)
        return
    with atomic_write(file) as handle:
        handle.write(text)


class Journal:
    """A file of JSON lines that a run appends to as it goes; a killed one goes on from them.

    Attributes:
        path: of the file.
        entries: what an earlier run added.
    """

    def __init__(self, path: Path, settings: Settings | None = None, advice: str = "") -> None:
        """Read what is there; a line torn by a kill is cut off.

        Args:
            path: of the file, which need not be there.
            settings: stand in its first line; None where entries fit any run.
            advice: for the error, what to do about other settings.

        Raises:
            FlyThinkerError: it was begun with other settings, some of which it names.
        """
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        content = path.read_bytes() if path.exists() else b""
        complete, end, torn = content.rpartition(b"\n")
        if torn:
            os.truncate(path, len(complete + end))  # needs no room, as writing it anew would
        lines = complete.decode().splitlines()
        if settings is not None and not lines:
            self.add(settings)
        elif settings is not None:
            before = _parsed(lines.pop(0), json.loads, path, advice)
            _check_same(before, json.loads(json.dumps(settings)), path, advice)
        self.entries: list[Any] = [json.loads(line) for line in lines]

    def add(self, *entries: Any) -> None:
        """Append entries; from now on a kill does not lose them.

        Raises:
            DiskFull: there is no room.
        """
        with named_when_full(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(entry) + "\n" for entry in entries))


def _parsed(text: str, parse: Callable[[str], Any], path: Path, advice: str) -> dict[str, Any]:
    try:
        return dict(parse(text))
    except (yaml.YAMLError, ValueError, TypeError):
        raise FlyThinkerError(f"{path} holds no settings of a run: {advice}") from None


def _check_same(before: Settings, now: Settings, path: Path, advice: str) -> None:
    changes = list(_changes(before, now))
    if changes:
        if len(changes) > _SHOWN:
            changes[_SHOWN:] = [f"and {len(changes) - _SHOWN} more"]
        raise FlyThinkerError(
            f"{path} was begun with other settings ({'; '.join(changes)}): {advice}"
        )


def _changes(before: Settings, now: Settings, section: str = "") -> Iterator[str]:
    """Each setting that differs, as `section.key: old → new`."""
    for key in dict.fromkeys([*before, *now]):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _changes(old, new, f"{section}{key}.")
        elif old != new:
            yield f"{section}{key}: {_short(old)} → {_short(new)}"


def _short(value: Any) -> str:
    return shorten(str(value), 40, placeholder="…")
