"""Training in two processes (gloo, CPU): the same run as in one, whatever happens to a process."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from flythinker.errors import FlyThinkerError
from flythinker.training.run import train
from flythinker.training.trainer import EpochSeededSampler

ROOT = Path(__file__).parents[2]
LAUNCH = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
FLYTHINKER = ["-m", "flythinker"]
PROGRAM = {"fsdp2": [str(Path(__file__).parent / "fsdp_on_cpu.py")]}
ENVIRONMENT = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
# four steps an epoch, two rows left over; ten rows to evaluate are not whole batches either
SHORT = (
    "data.max_train=18",
    "training.global_batch_size=4",
    "training.num_train_epochs=2",
    "training.eval_strategy=steps",
    "training.eval_steps=4",
    "training.per_device_eval_batch_size=3",
    "training.save_strategy=steps",
    "training.save_steps=3",
)
LONG = (
    "training.global_batch_size=4",
    "training.num_train_epochs=20",
    "training.save_strategy=steps",
    "training.save_steps=10",
)


def launched(how: str, processes: int, config: Path, *overrides: str) -> subprocess.Popen[str]:
    """`accelerate launch` with a config that we ship."""
    shipped = ROOT / "configs" / "accelerate" / f"{how}.yaml"
    options = ["--config_file", shipped, "--num_processes", processes, "--main_process_port", 0]
    settings = [part for override in overrides for part in ("--set", override)]
    program = PROGRAM.get(how, FLYTHINKER)
    return subprocess.Popen(
        [*map(str, [*LAUNCH, *options, *program, "train", config, *settings])],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def launch(how: str, processes: int, config: Path, *overrides: str) -> str:
    process = launched(how, processes, config, *overrides)
    printed, _ = process.communicate(timeout=400)
    assert process.returncode == 0, printed
    return printed


def workers(process: subprocess.Popen[str]) -> dict[str, psutil.Process]:
    """The training processes of a launcher, by rank."""
    children = psutil.Process(process.pid).children(recursive=True)
    return {child.environ().get("RANK", ""): child for child in children}


def wait_for(file: Path, process: subprocess.Popen[str]) -> None:
    while not file.exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)


def rewind(output: Path) -> None:
    """As after a kill between the first checkpoint's and the second's."""
    shutil.rmtree(output / "model")
    _, *later = sorted(output.glob("checkpoint-*"), key=lambda f: int(f.name.split("-")[1]))
    assert later
    for folder in later:
        shutil.rmtree(folder)


def assert_same_run(model: Path, other: Path, steps: int) -> None:
    logs = [
        json.loads((folder / "training.json").read_text())["log_history"]
        for folder in (model, other)
    ]
    for name in ("loss", "grad_norm", "eval_loss"):
        ours, theirs = ({e["step"]: e[name] for e in log if name in e} for log in logs)
        assert ours == pytest.approx(theirs, abs=1e-3), name
        assert name == "eval_loss" or list(ours) == list(range(1, steps + 1))
    first, second = (load_file(folder / "model.safetensors") for folder in (model, other))
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], atol=1e-4, rtol=0)


@pytest.fixture
def alone(configure, tmp_path):
    """`alone(*overrides)`: the model folder of the run in this one process."""

    def run(*overrides: str) -> Path:
        return train(configure(*overrides, f"training.output_dir={tmp_path / 'alone'}"))

    return run


# the same run


def test_sharded_over_two_processes(config_file, tmp_path, alone):
    # untied embeddings, a linear projection; both tables are cut
    launch("fsdp2", 2, config_file, *SHORT)
    assert_same_run(tmp_path / "run" / "model", alone(*SHORT), steps=8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "overrides"),
    [
        ("ddp", ()),
        ("ddp", ("lora.r=4",)),
        ("ddp", ("training.freeze_generator=true", "training.draft_loss_weight=0.5")),
        ("fsdp2", ("lora.r=4",)),
        ("fsdp2", ("model.projection=pad", "training.draft_loss_weight=0.5")),
        ("fsdp2", ("training.gradient_checkpointing=true",)),
    ],
)
def test_other_settings_in_two_processes(how, overrides, config_file, tmp_path, alone):
    launch(how, 2, config_file, *SHORT, *overrides)
    assert_same_run(tmp_path / "run" / "model", alone(*SHORT, *overrides), steps=8)


@pytest.mark.slow
def test_sharded_by_deepspeed(config_file, tmp_path, alone, monkeypatch):
    if find_spec("deepspeed") is None:
        pytest.skip("deepspeed is not installed")
    monkeypatch.setitem(ENVIRONMENT, "DS_ACCELERATOR", "cpu")
    here = ("training.use_cpu=false", "training.ddp_backend=gloo")
    launch("deepspeed-zero3", 2, config_file, *SHORT, *here)
    whole = alone(*SHORT)
    assert_same_run(tmp_path / "run" / "model", whole, steps=8)
    rewind(tmp_path / "run")
    launch("deepspeed-zero3", 2, config_file, *SHORT, *here)
    assert_same_run(tmp_path / "run" / "model", whole, steps=8)


# other numbers of processes


@pytest.mark.slow
@pytest.mark.parametrize("how", ["ddp", "fsdp2"])
@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 2)])
def test_a_run_goes_on_in_more_or_fewer_processes(how, first, then, config_file, tmp_path, alone):
    launch(how, first, config_file, *SHORT)
    rewind(tmp_path / "run")
    launch(how, then, config_file, *SHORT)
    assert_same_run(tmp_path / "run" / "model", alone(*SHORT), steps=8)


def test_a_batch_that_the_processes_cannot_share_is_explained(configure, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(FlyThinkerError, match=r"3 processes with .* 2 read 6 rows at once"):
        configure("training.global_batch_size=8")


def test_a_batch_of_more_rows_than_there_are_is_explained(make_trainer):
    with pytest.raises(FlyThinkerError, match=r"global_batch_size is 64.* 20 examples"):
        make_trainer("training.global_batch_size=64").train()


def test_whole_batches_leave_other_rows_out_each_epoch():
    sampler = EpochSeededSampler(4, list(range(1, 19)), seed=0, whole_batches=True)
    epochs = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        epochs.append(set(sampler))
    assert [len(rows) for rows in epochs] == [len(sampler)] * 3 == [16] * 3
    assert len({frozenset(rows) for rows in epochs}) == 3


# a lost process


@pytest.mark.slow
def test_a_killed_process_ends_the_other_and_the_run_goes_on(
    configure, config_file, tmp_path, alone
):
    # by hand, as on two machines: no launcher ends the process that is left
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = [part for override in LONG for part in ("--set", override)]
    both = [
        subprocess.Popen(
            [sys.executable, *FLYTHINKER, "train", str(config_file), *settings],
            env=ENVIRONMENT
            | {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
            | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in ("0", "1")
    ]
    wait_for(tmp_path / "run" / "checkpoint-10" / "trainer_state.json", both[0])
    both[1].kill()
    printed, _ = both[0].communicate(timeout=60)
    both[1].communicate()
    assert both[0].returncode == 1, printed
    error = printed.splitlines()[-1]
    assert "another process of this training is gone" in error
    assert "run the same command again" in error
    assert "Traceback" not in printed
    assert not (tmp_path / "run" / "model").exists()

    # in one process, since the other machine is gone
    resumed = train(configure(*LONG))
    assert_same_run(resumed, alone(*LONG), steps=100)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["ddp", "fsdp2"])
def test_a_killed_worker_ends_the_launchers_job(how, config_file, tmp_path, alone):
    process = launched(how, 2, config_file, *LONG)
    wait_for(tmp_path / "run" / "checkpoint-10" / "trainer_state.json", process)
    both = workers(process)
    both["1"].send_signal(signal.SIGKILL)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert f"Signal 9 (SIGKILL) received by PID {both['1'].pid}" in printed
    assert not any(worker.is_running() for worker in both.values())
    launch(how, 2, config_file, *LONG)
    assert_same_run(tmp_path / "run" / "model", alone(*LONG), steps=100)
