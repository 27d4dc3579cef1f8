"""What a second process gives, one core each: in training (DDP), and in bulk generation (Ray).

python benchmarks/processes.py train data/sotu/train.jsonl
python benchmarks/processes.py bulk data/sotu/test.jsonl
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from flythinker.bulk.generate import BulkSetting, generate_shards
from flythinker.bulk.pool import Pool
from flythinker.data.example import read_examples, sample_examples
from flythinker.data.prompt import PromptConfig
from flythinker.generation.sampling import Sampling
from flythinker.model_folder import load_tokenizer, save_model_folder
from flythinker.training.build import build_model
from flythinker.training.config import ModelSection

MODEL = ModelSection("smollm2-135m", "smollm2-135m", reasoner_layers=8, projection="linear")
PROMPT = PromptConfig(k=1, profile_tokens=250, query_tokens=60, response_tokens=200)
STEPS, ROWS = 3, 8


def train_seconds(data: Path, processes: int, folder: Path) -> float:
    """Of `STEPS` optimizer steps of `ROWS` rows each, full training in bf16."""
    config = {
        "model": vars(MODEL),
        "data": {"train": str(data), "max_train": STEPS * ROWS},
        "prompt": vars(PROMPT),
        "training": {
            "output_dir": str(folder / f"run{processes}"),
            "max_steps": STEPS,
            "per_device_train_batch_size": 1,
            "global_batch_size": ROWS,
            "bf16": True,
            "use_cpu": True,
            "save_strategy": "no",
            "report_to": [],
        },
    }
    file = folder / f"{processes}.yaml"
    file.write_text(yaml.safe_dump(config))
    launch = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    subprocess.run(
        [sys.executable, "-m", *launch, "-m", "flythinker", "train", str(file)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    training = json.loads((folder / f"run{processes}" / "model" / "training.json").read_text())
    return next(e["train_runtime"] for e in training["log_history"] if "train_runtime" in e)


def bulk_rows_per_second(data: Path, actors: int, folder: Path, rows: int = 40) -> float:
    """Responses a second once every actor has loaded the model and written a shard."""
    model = folder / "model"
    if not model.exists():
        tokenizer = load_tokenizer(MODEL.pretrained())
        save_model_folder(model, build_model(MODEL, None), tokenizer, PROMPT, {})
    examples = sample_examples(read_examples(data), rows)
    sampling = Sampling(max_new_tokens=60, temperature=0)
    out = folder / f"shards{actors}"
    setting = BulkSetting(str(model), sampling, shard_rows=4, slots=4)
    generate_shards(examples, setting, Pool(actors=actors), out)
    times = sorted(shard.stat().st_mtime for shard in out.glob("part-*"))
    return 4 * (len(times) - actors) / (times[-1] - times[actors - 1])


def main() -> None:
    """Measure one and two processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["train", "bulk"])
    parser.add_argument("data", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.what == "train":
            one, two = (train_seconds(arguments.data, n, folder) for n in (1, 2))
            print(f"seconds: {one:.1f} in one process, {two:.1f} in two, ratio {one / two:.2f}")
        else:
            one, two = (bulk_rows_per_second(arguments.data, n, folder) for n in (1, 2))
            print(f"responses/s: {one:.3f} with one actor, {two:.3f}, ratio {two / one:.2f}")


if __name__ == "__main__":
    main()
