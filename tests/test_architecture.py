"""Imports point one way: the order of the rooms is written here, and nowhere else."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "flythinker"

# A room imports from the rows above its own, not from its own row.
ORDER = [
    "errors hardware limits memory progress",
    "disk yaml_config",
    "files",
    "data runs",
    "backbones scoring",
    "model card adapter",
    "model_folder",
    "generation training vllm_plugin",
    "adaptation",
    "methods evaluation doctor planning serving",
    "bench bulk reporting",
    "comparison judge inspect demo",
    "cli",
]
ROW = {room: number for number, row in enumerate(ORDER) for room in row.split()}

# Rooms that need less than that: of ours, only these.
ONLY = {
    "model": {"backbones"},  # it is the paper, and knows where the demo's backbone lies
    "data": {"errors", "files", "progress"},
    "vllm_plugin": {"errors", "model", "adapter", "model_folder"},
}

# Libraries that belong to one concern.
HOMES = {
    "typer": {"cli"},
    "fastapi": {"serving"},
    "gradio": {"serving"},
    "sqlalchemy": {"serving"},
    "ray": {"bulk"},
    "vllm": {"bulk", "vllm_plugin"},
}


def imports(code: str) -> Iterator[str]:
    """Dotted names that a module imports, also inside functions; relative ones begin with a dot."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (f"{module}.{alias.name}" for alias in node.names)


def allowed(room: str, name: str) -> bool:
    """Whether a module of `room` may import `name`; the package itself is everybody's."""
    library, *path = name.split(".")
    if library != "flythinker":
        return bool(library) and room in HOMES.get(library, {room})
    if not path or path[0] not in ROW or path[0] == room:
        return True
    before = {other for other, row in ROW.items() if row < ROW[room]}
    return path[0] in ONLY.get(room, before)


def modules() -> Iterator[tuple[str, Path]]:
    """Every module with its room; the package's own two files are of none."""
    for file in sorted(SOURCE.rglob("*.py")):
        room = file.relative_to(SOURCE).parts[0].removesuffix(".py")
        if room not in ("__init__", "__main__"):
            yield room, file


def test_every_room_has_a_row() -> None:
    assert {room for room, _ in modules()} == ROW.keys()


def test_imports_point_one_way() -> None:
    refused = [
        f"{file.relative_to(SOURCE)}: {name}"
        for room, file in modules()
        for name in imports(file.read_text())
        if not allowed(room, name)
    ]
    assert refused == []


@pytest.mark.parametrize(
    ("room", "code"),
    [
        ("methods", "from flythinker.evaluation.compare import compare"),
        ("scoring", "import flythinker.model.loss"),
        ("training", "def f():\n    from flythinker.generation.writer import Writer"),
        ("model", "from flythinker import files"),
        ("evaluation", "from fastapi.responses import Response"),
        ("data", "from .. import model"),
        ("data", "from .example import Example"),
    ],
)
def test_what_is_refused(room: str, code: str) -> None:
    assert not any(allowed(room, name) for name in imports(code))
