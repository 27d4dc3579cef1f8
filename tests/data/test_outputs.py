import json
from dataclasses import replace
from pathlib import Path

import pytest

from flythinker.data.example import Example
from flythinker.data.outputs import least_output_bytes, read_outputs, write_outputs
from flythinker.errors import FlyThinkerError

EXAMPLES = [
    Example("ada", "Write.", "Her text.", ()),
    Example("bob", "Write\u2028this.", "His.", ()),
]
OUTPUTS = ["Two\nlines, \u2028 and \x85 more.", ""]


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet", "out"])
def test_outputs_are_read_as_written(tmp_path: Path, name: str) -> None:
    write_outputs(tmp_path / name, EXAMPLES, OUTPUTS)
    assert read_outputs(tmp_path / name, EXAMPLES) == OUTPUTS
    assert (tmp_path / name).stat().st_size >= least_output_bytes(EXAMPLES)
    with pytest.raises(FlyThinkerError, match=f"{name}: 2 outputs for 1 examples"):
        read_outputs(tmp_path / name, EXAMPLES[:1])
    with pytest.raises(
        FlyThinkerError, match=rf"{name}:2: is about another example .*\(user bob\)"
    ):
        read_outputs(tmp_path / name, [EXAMPLES[0], replace(EXAMPLES[1], user_id="eve")])


@pytest.mark.parametrize(
    ("line", "said"),
    [("{torn", "not valid JSON"), ("[1]", "not an output line"), ("{}", "not an output line")],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "out.jsonl"
    write_outputs(file, EXAMPLES, OUTPUTS)
    file.write_text(file.read_text().split("\n")[0] + f"\n{line}\n")
    with pytest.raises(FlyThinkerError, match=rf"out\.jsonl:2: {said}"):
        read_outputs(file, EXAMPLES)


def test_shards_are_read_in_order(tmp_path: Path) -> None:
    for number in (1, 0):
        shard = tmp_path / f"part-0000{number}.jsonl"
        write_outputs(shard, [EXAMPLES[number]], [OUTPUTS[number]])
    assert read_outputs(tmp_path, EXAMPLES) == OUTPUTS


def test_outputs_of_another_program_come_in_any_order(tmp_path: Path) -> None:
    examples = [*EXAMPLES, replace(EXAMPLES[0], target="Her second text.")]
    records = [("ada", "Write.", "one"), ("ada", "Write.", "two"), (*about(EXAMPLES[1]), "his")]
    lines = [
        json.dumps({"user_id": user, "query": query, "output": output})
        for user, query, output in records
    ]
    (tmp_path / "out.jsonl").write_text("\n".join(lines))
    assert read_outputs(tmp_path / "out.jsonl", examples) == ["one", "his", "two"]
    (tmp_path / "out.jsonl").write_text("\n".join([lines[0], lines[2], lines[2]]))
    with pytest.raises(FlyThinkerError, match=r"out\.jsonl: no output for user ada, 'Write\.'"):
        read_outputs(tmp_path / "out.jsonl", examples)


def about(example: Example) -> tuple[str, str]:
    return example.user_id, example.query
