"""How `flythinker data` shows what is in files of examples."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table


def print_descriptions(rows: Mapping[str, Mapping[str, float]]) -> None:
    """One column a file: paths are long, and there are few of them."""
    table = Table("")
    for path in rows:
        table.add_column(path, overflow="fold")
    for name in next(iter(rows.values())):
        table.add_row(name.replace("_", " "), *(f"{row[name]:g}" for row in rows.values()))
    Console().print(table)
