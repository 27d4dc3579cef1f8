"""Config files: sections of keys in YAML, overridden on the command line, made into dataclasses."""

import difflib
import typing
from collections.abc import Iterable
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from flythinker.errors import FlyThinkerError


def read_yaml(path: Path) -> dict[str, Any]:
    """The sections of a config file, by name; `FlyThinkerError` for what is not one.

    A file that says `extends: other.yaml` (a path from its own folder) has that file's sections,
    with its own keys over them.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FlyThinkerError(f"{path}: no such config file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise FlyThinkerError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    except yaml.YAMLError as error:
        raise FlyThinkerError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise FlyThinkerError(f"{path}: expected sections such as 'model:' and 'training:'")
    extended = raw.pop("extends", None)
    for name, values in raw.items():
        if not isinstance(values, dict | None):
            raise FlyThinkerError(f"{path}: {name}: expected keys and values, got {values!r}")
    if extended is None:
        return raw
    base = read_yaml(path.parent / str(extended))
    # an empty section drops the other file's
    merged = {name: values and (base.get(name) or {}) | values for name, values in raw.items()}
    return base | merged


def apply_override(raw: dict[str, Any], override: str, known: Iterable[str]) -> None:
    """Set one key (`section.key=value`) or drop a whole section (`lora=null`) of `raw`.

    A key of a key is set as well: `model.generator.layers=8`.

    Raises `FlyThinkerError` for what is not of that form or not of the `known` sections.
    """
    known = list(known)
    name, equals, value = override.partition("=")
    section, dot, key = name.partition(".")
    if not equals or section not in known or (not dot and value != "null"):
        raise FlyThinkerError(
            f"--set {override}: expected section.key=value with a section of "
            f"{', '.join(known)}, such as training.max_steps=100"
        )
    if not dot:
        raw[section] = None
        return
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        raise FlyThinkerError(f"--set {override}: the value is not valid YAML") from None
    *path, last = [section, *key.split(".")]
    values = raw
    for name in path:
        inner = values.get(name)
        values[name] = dict(inner) if isinstance(inner, dict) else {}
        values = values[name]
    values[last] = parsed


def check_keys(values: Iterable[Any], known: Iterable[str], where: str, kind: str) -> None:
    """Raise `FlyThinkerError` for the first of `values` that is not known, naming the nearest."""
    known = list(known)
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"
            raise FlyThinkerError(f"{where}: unknown {kind} '{key}'; {hint}")


def build_section(section: type, values: dict[str, Any], where: str) -> Any:
    """Make one section's dataclass; strings that mean numbers (YAML's 5e-6) become numbers.

    Raises `FlyThinkerError` for a missing or unknown key or a value of the wrong type.
    """
    known = {f.name: f for f in fields(section) if f.init}
    check_keys(values, known, where, "key")
    for name, f in known.items():
        if name not in values and f.default is MISSING and f.default_factory is MISSING:
            raise FlyThinkerError(f"{where}: key '{name}' is missing")
    hints = typing.get_type_hints(section)
    arguments = convert_values(values, hints, where)
    try:
        return section(**arguments)
    except (ValueError, TypeError) as error:
        # transformers' messages may have several lines
        raise FlyThinkerError(f"{where}: {' '.join(str(error).split())}") from None


def convert_values(values: dict[str, Any], hints: dict[str, Any], where: str) -> dict[str, Any]:
    """`values` as the types that `hints` name; `FlyThinkerError` for one that cannot be."""
    return {name: _convert(value, hints[name], where, name) for name, value in values.items()}


def _convert(value: Any, hint: Any, where: str, name: str) -> Any:
    sections = [option for option in typing.get_args(hint) if is_dataclass(option)]
    if sections and isinstance(value, dict):
        return build_section(cast(type, sections[0]), value, f"{where}.{name}")
    adapter = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        if value is False:  # how YAML reads the `no` of `save_strategy: no`
            return _convert("no", hint, where, name)
        problem = error.errors()[0]["msg"]
        raise FlyThinkerError(f"{where}: key '{name}': {problem}, got {value!r}") from None
