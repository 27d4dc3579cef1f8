"""LongLaMP, the benchmark of the paper (§4.1): three public tasks × two splits of the users.

From the hub dataset `LongLaMP/LongLaMP`, or from local files with the same fields.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from flythinker.data.example import Document, Example
from flythinker.data.records import json_type, read_records
from flythinker.errors import FlyThinkerError
from flythinker.progress import in_terminal, track

LongLampConfig = Literal[
    "abstract_generation_user",
    "abstract_generation_temporal",
    "product_review_user",
    "product_review_temporal",
    "topic_writing_user",
    "topic_writing_temporal",
]
_HUB_NAME = "LongLaMP/LongLaMP"
_SPLITS = ("train", "val", "test")
_SUFFIXES = (".jsonl", ".json", ".parquet")


@dataclass(frozen=True)
class _Fields:
    """The hub's field names of one task: of the user, and of the items of `profile`."""

    user: str
    text: str
    title: str
    year: str = ""


_FIELDS = {
    "abstract_generation": _Fields(user="name", text="abstract", title="title", year="year"),
    "product_review": _Fields(user="reviewerId", text="reviewText", title="summary"),
    "topic_writing": _Fields(user="author", text="content", title="summary"),
}


def build_longlamp(
    config: LongLampConfig, path: str | Path | None = None
) -> dict[str, list[Example]]:
    """Build the splits of one configuration.

    Args:
        config: task and split of the users, e.g. `topic_writing_temporal`.
        path: a file, or a folder of files, named `train*`, `val*`, `test*` and ending in
            `.jsonl`, `.json` (a list) or `.parquet`; a sub-folder named like the configuration
            is entered. The network is then not used. None: the hub.

    Raises:
        FlyThinkerError: unknown configuration, no such files, or a record without the fields.
    """
    if config not in get_args(LongLampConfig):
        raise FlyThinkerError(
            f"unknown LongLaMP configuration '{config}'; "
            f"use one of {', '.join(get_args(LongLampConfig))}"
        )
    fields = _FIELDS[config.rpartition("_")[0]]
    splits = _hub_records(config) if path is None else _local_records(config, Path(path))
    return {
        name: [
            _parse(record, fields, where)
            for where, record in track(records, f"Reading {name}", transient=True)
        ]
        for name, records in splits.items()
    }


def _hub_records(config: str) -> dict[str, Iterable[tuple[str, Any]]]:
    from datasets import disable_progress_bars, load_dataset

    if not in_terminal():
        disable_progress_bars()
    try:
        dataset = load_dataset(_HUB_NAME, config)
    except OSError as error:  # no network, no such dataset
        raise FlyThinkerError(
            f"cannot load {_HUB_NAME} from the hub ({error}); give local files with --path"
        ) from error
    return {
        name: ((f"{config}/{name}:{row}", record) for row, record in enumerate(dataset[name], 1))
        for name in _SPLITS
    }


def _local_records(config: str, path: Path) -> dict[str, Iterable[tuple[str, Any]]]:
    if not path.exists():
        raise FlyThinkerError(f"{path}: no such file or folder")
    if (path / config).is_dir():
        path = path / config
    candidates = [path] if path.is_file() else sorted(path.glob("*"))
    files = [file for file in candidates if file.suffix in _SUFFIXES]
    splits = {name: [file for file in files if file.name.startswith(name)] for name in _SPLITS}
    if not any(splits.values()):
        raise FlyThinkerError(
            f"{path}: no file named train*, val* or test* that ends in {', '.join(_SUFFIXES)}"
        )
    return {
        name: ((f"{file}:{line}", record) for file in files for line, record in read_records(file))
        for name, files in splits.items()
    }


def _parse(record: Any, fields: _Fields, where: str) -> Example:
    if isinstance(record, FlyThinkerError):
        raise record
    profile = _get(record, "profile", list, where)
    history = [
        Document(
            text=_get(item, fields.text, str, where, f"profile[{index}]."),
            title=_get(item, fields.title, str, where, f"profile[{index}]."),
            date=_year(item, fields, where, f"profile[{index}]."),
        )
        for index, item in enumerate(profile)
    ]
    # Undated items keep the hub's order, which is the order of writing.
    history.sort(key=lambda document: document.date)
    return Example(
        user_id=_get(record, fields.user, str, where),
        query=_get(record, "input", str, where),
        target=_get(record, "output", str, where),
        history=tuple(history),
    )


def _year(item: Any, fields: _Fields, where: str, prefix: str) -> str:
    return str(_get(item, fields.year, int, where, prefix)) if fields.year else ""


def _get(record: Any, name: str, kind: type, where: str, prefix: str = "") -> Any:
    if not isinstance(record, dict) or name not in record:
        is_object = isinstance(record, dict)
        found = f"there are: {', '.join(record)}" if is_object else f"got {json_type(record)}"
        raise FlyThinkerError(f"{where}: field '{prefix}{name}' is missing ({found})")
    if not isinstance(record[name], kind):
        raise FlyThinkerError(
            f"{where}: field '{prefix}{name}': expected {json_type(kind())}, "
            f"got {json_type(record[name])}"
        )
    return record[name]
