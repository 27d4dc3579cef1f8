"""What it costs to learn persons, in a comparison's report."""

from types import SimpleNamespace
from typing import Any

from flythinker.comparison.persons import person_rows, persons_section


def result(name: str, seed: int, training: dict[str, Any]) -> Any:
    trial = SimpleNamespace(name=name, label=name, seed=seed, id=f"{name}-s{seed}")
    return SimpleNamespace(trial=trial, training=training)


def test_only_entries_that_learn_persons_have_a_row():
    costs = {"persons": 3, "texts": [5, 20, 100], "bytes": 123_456}
    measured = [
        result("sft", 1, {"steps": 10}),
        result("oppu", 1, costs | {"seconds": [1.0, 2.0, 6.0]}),
        result("oppu", 2, costs | {"seconds": [2.0, 3.0, 7.0]}),
    ]
    rows = person_rows(measured)
    assert rows == [{"label": "oppu", "persons": 3, "texts": 20, "seconds": 3.5, "bytes": 123_456}]
    section = persons_section(rows)
    assert section is not None
    assert [cell.text for cell in section.tables[0].rows[0][1]] == ["3", "20", "3.5", "123"]
    assert persons_section(person_rows(measured[:1])) is None
