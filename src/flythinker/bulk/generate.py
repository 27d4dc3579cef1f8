"""`flythinker generate --ray`: responses to many examples, in shards that are written once."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Literal

from flythinker.bulk.on_vllm import vllm_work
from flythinker.bulk.pool import Pool, Work, shards_of
from flythinker.data.example import Example
from flythinker.data.prompt import build_prompt
from flythinker.disk import require_room
from flythinker.errors import FlyThinkerError
from flythinker.files import atomic_write
from flythinker.generation.files import least_output_bytes, write_outputs
from flythinker.generation.sampling import Sampling
from flythinker.generation.writer import Writer
from flythinker.hardware import Precision, as_dtype
from flythinker.model_folder import load_model_folder
from flythinker.progress import track

Format = Literal["jsonl", "parquet"]
Engine = Literal["local", "vllm"]
_SETTINGS = "settings.json"


@dataclass(frozen=True)
class BulkSetting:
    """What a folder of shards is made with; all shards of a folder with the same.

    Attributes:
        model: folder, hub name or `smollm2-135m`, as every worker of the cluster sees it.
        sampling: example i is drawn with `sampling.seed` + i.
        shard_rows: examples in a shard, which is what a killed worker has to do again.
        slots: texts at the same time in each actor.
        format: of the shards.
        engine: what an actor holds, `Writer` or vLLM.
        dtype: of the weights; `auto` is for each actor to say, see `choose_dtype`.
    """

    model: str
    sampling: Sampling
    shard_rows: int = 64
    slots: int = 8
    format: Format = "jsonl"
    engine: Engine = "local"
    dtype: Precision = "auto"


def generate_shards(
    examples: Sequence[Example], setting: BulkSetting, pool: Pool, folder: Path
) -> None:
    """Write a response to every example into `folder`, `part-00000.jsonl` and so on, in order.

    A shard appears under its name only when complete. A killed run does the missing shards only.

    Raises:
        FlyThinkerError: `folder` was begun with other settings or examples; see `Pool.map`.
        DiskFull: there is no room, already at the start for what surely will be written.
    """
    _claim(folder, examples, setting)
    numbered = list(enumerate(examples))
    shards = shards_of(numbered, setting.shard_rows)
    names = {number: folder / f"part-{number:05d}.{setting.format}" for number in shards}
    missing = {number: shard for number, shard in shards.items() if not names[number].exists()}
    examples_left = (example for shard in missing.values() for _, example in shard)
    require_room(folder, least_output_bytes(examples_left), advice="choose another --out")
    results = pool.map(partial(_writer, setting), missing)
    done = len(shards) - len(missing)
    for number, texts in track(results, "Writing shards", len(shards), done, unit="/shard"):
        write_outputs(names[number], [example for _, example in shards[number]], texts)


def _writer(setting: BulkSetting) -> Work:
    """Load the model in an actor; returns what writes one shard."""
    if setting.engine == "vllm":
        return vllm_work(setting.model, setting.sampling, setting.slots, as_dtype(setting.dtype))
    personal = load_model_folder(setting.model, dtype=as_dtype(setting.dtype))
    writer = Writer(personal, setting.slots)

    def write(shard: Sequence[tuple[int, Example]]) -> list[str]:
        sequences = []
        for index, example in shard:
            prompt = build_prompt(example, personal.tokenizer, personal.prompt)
            sampling = replace(setting.sampling, seed=setting.sampling.seed + index)
            sequences.append(writer.submit(prompt, sampling))
        while not writer.idle:
            writer.step()
        return [sequence.text.strip() for sequence in sequences]

    return write


def _claim(folder: Path, examples: Sequence[Example], setting: BulkSetting) -> None:
    """Note the settings, so that a run never goes on with other ones."""
    about = json.dumps([(example.user_id, example.query) for example in examples])
    described = asdict(setting) | {
        "examples": len(examples),
        "examples_sha256": sha256(about.encode()).hexdigest(),
    }
    text = json.dumps(described, indent=1)
    file = folder / _SETTINGS
    if file.exists() and file.read_text(encoding="utf-8") != text:
        raise FlyThinkerError(
            f"{folder} was begun with other settings or examples (see {file}): use them again, "
            "delete it, or choose another --out"
        )
    if folder.exists() and not folder.is_dir():
        raise FlyThinkerError(f"{folder} is a file; with --ray, --out is a folder of shards")
    with atomic_write(file) as handle:
        handle.write(text)
