"""Control groups' limits, from files as Linux shows them."""

from pathlib import Path

import psutil
import pytest

from flythinker import limits
from flythinker.limits import cpu_limit, free_memory, memory_limit, usable_cpus


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def test_version_2_takes_the_narrowest_group_above_the_process(tmp_path: Path):
    write(
        tmp_path,
        {
            "own": "0::/kubepods/pod1/box\n",
            "fs/kubepods/cpu.max": "800000 100000\n",
            "fs/kubepods/pod1/cpu.max": "150000 100000\n",
            "fs/kubepods/pod1/box/cpu.max": "max 100000\n",
            "fs/kubepods/pod1/memory.max": "4000000000\n",
            "fs/kubepods/pod1/box/memory.max": "max\n",
        },
    )
    where = (tmp_path / "fs", tmp_path / "own")
    assert cpu_limit(*where) == 1.5
    assert memory_limit(*where) == 4_000_000_000


def test_in_a_container_the_own_group_is_the_root(tmp_path: Path):
    write(tmp_path, {"own": "0::/\n", "fs/cpu.max": "50000 100000\n", "fs/memory.max": "1000\n"})
    assert cpu_limit(tmp_path / "fs", tmp_path / "own") == 0.5
    assert memory_limit(tmp_path / "fs", tmp_path / "own") == 1000


def test_version_1_has_a_folder_for_each_controller(tmp_path: Path):
    write(
        tmp_path,
        {
            "own": "5:cpu,cpuacct:/docker/1\n4:memory:/docker/1\n3:pids:/docker/1\n",
            "fs/cpu/cpu.cfs_quota_us": "200000\n",
            "fs/cpu/cpu.cfs_period_us": "100000\n",
            "fs/memory/memory.limit_in_bytes": "9223372036854771712\n",
        },
    )
    where = (tmp_path / "fs", tmp_path / "own")
    assert cpu_limit(*where) == 2
    assert memory_limit(*where) is None  # its way to say that there is none


@pytest.mark.parametrize("files", [{}, {"own": "0::/\n", "fs/cpu.max": "max 100000\n"}])
def test_without_limits_there_is_none(tmp_path: Path, files: dict[str, str]):
    write(tmp_path, files)
    assert cpu_limit(tmp_path / "fs", tmp_path / "own") is None
    assert memory_limit(tmp_path / "fs", tmp_path / "own") is None


def test_this_process_may_use_something():
    assert usable_cpus() > 0


def test_free_memory_is_what_machine_and_group_leave(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "memory_limit", lambda: None)
    machine = psutil.virtual_memory().available
    assert free_memory() == pytest.approx(machine, rel=0.2)
    limit = psutil.Process().memory_info().rss + machine // 10
    monkeypatch.setattr(limits, "memory_limit", lambda: limit)
    assert free_memory() == pytest.approx(machine // 10, rel=0.2)
