import json
from pathlib import Path

import pytest

from flythinker.errors import FlyThinkerError
from flythinker.runs import Journal, claim

SETTINGS = {"model": {"layers": 2, "dtype": "float32"}, "seeds": [1, 2], "rate": 1e-05}


@pytest.mark.parametrize("name", ["settings.json", "config.yaml"])
def test_a_claimed_folder_is_gone_on_with_as_it_was(tmp_path: Path, name: str) -> None:
    file = tmp_path / "run" / name
    claim(file, SETTINGS, "choose another")
    written = file.read_text()
    claim(file, SETTINGS | {"seeds": (1, 2), "new": None}, "choose another")
    assert file.read_text() == written

    other = SETTINGS | {"model": {"layers": 3, "dtype": "float32"}, "rate": 2e-05}
    with pytest.raises(FlyThinkerError) as caught:
        claim(file, other, "choose another --out")
    assert str(caught.value) == (
        f"{file.parent} was begun with other settings (model.layers: 2 → 3; rate: 1e-05 → 2e-05): "
        "choose another --out"
    )
    assert file.read_text() == written


def test_many_changes_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    claim(file, dict.fromkeys("abcdef", "long " * 20), "")
    with pytest.raises(FlyThinkerError, match="; and 3 more") as caught:
        claim(file, dict.fromkeys("abcdef", "short"), "")
    assert len(str(caught.value)) < 400


def test_settings_without_results_are_replaced(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("- not settings")
    with pytest.raises(
        FlyThinkerError, match=r"config\.yaml holds no settings of a run: delete it"
    ):
        claim(file, SETTINGS, "delete it")
    claim(file, SETTINGS, "", started=False)
    claim(file, SETTINGS, "")


def test_what_does_not_count_may_differ(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    claim(file, {"seed": 1, "threads": 2}, "")
    claim(file, {"seed": 1, "threads": 4}, "", counting=lambda before: before | {"threads": 4})
    with pytest.raises(FlyThinkerError, match="seed: 1 → 2"):
        claim(file, {"seed": 2, "threads": 4}, "", counting=lambda before: before | {"threads": 4})


def test_a_journal_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "new" / "out.jsonl.partial"
    first = Journal(path, SETTINGS)
    assert first.entries == []
    first.add([0, "one\u2028line"], [1, "two"])
    with path.open("a") as file:
        file.write('[2, "a torn li')
    second = Journal(path, SETTINGS)
    assert second.entries == [[0, "one\u2028line"], [1, "two"]]
    second.add([2, "three"])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [SETTINGS, *second.entries, [2, "three"]]


def test_a_journal_torn_in_its_settings_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "out.partial"
    path.write_text('{"model": {"lay')
    assert Journal(path, SETTINGS).entries == []
    assert json.loads(path.read_text()) == SETTINGS


def test_a_journal_of_other_settings_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "out.partial"
    Journal(path, SETTINGS).add("kept")
    written = path.read_text()
    with pytest.raises(FlyThinkerError, match=r"out\.partial was begun with .*seeds: \[1, 2\] → 3"):
        Journal(path, SETTINGS | {"seeds": 3}, "delete it")
    path.write_text("plain text\n" + written)
    with pytest.raises(FlyThinkerError, match="holds no settings of a run"):
        Journal(path, SETTINGS)
    assert path.read_text().endswith(written)


def test_a_journal_without_settings_fits_any_run(tmp_path: Path) -> None:
    Journal(tmp_path / "texts.jsonl").add({"key": 1}, {"key": 2})
    assert Journal(tmp_path / "texts.jsonl").entries == [{"key": 1}, {"key": 2}]
