"""`flythinker generate --ray`: responses to many examples, in shards that are written once."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Literal

from flythinker.bulk.on_vllm import vllm_work
from flythinker.bulk.pool import Pool, Work, shards_of
from flythinker.data.example import Example
from flythinker.data.outputs import least_output_bytes, write_outputs
from flythinker.data.prompt import build_prompt
from flythinker.disk import require_room
from flythinker.errors import FlyThinkerError
from flythinker.generation.sampling import Sampling
from flythinker.generation.write import text_writer
from flythinker.hardware import Precision, as_dtype
from flythinker.model_folder import load_model_folder
from flythinker.progress import track
from flythinker.runs import claim

Format = Literal["jsonl", "parquet"]
Engine = Literal["local", "vllm"]


@dataclass(frozen=True)
class BulkSetting:
    """What a folder of shards is made with; all shards of a folder with the same.

    Attributes:
        model: folder, hub name or `smollm2-135m`, as every worker of the cluster sees it.
        sampling: example i is drawn as `sampling.for_text(i)`.
        shard_rows: examples in a shard, which is what a killed worker has to do again.
        slots: texts at the same time in each actor.
        format: of the shards.
        engine: what an actor holds, `text_writer` or vLLM.
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
    if folder.exists() and not folder.is_dir():
        raise FlyThinkerError(f"{folder} is a file; with --ray, --out is a folder of shards")
    about = json.dumps([(example.user_id, example.query) for example in examples])
    settings = asdict(setting) | {
        "examples": len(examples),
        "examples_sha256": sha256(about.encode()).hexdigest(),
    }
    advice = "use them again, delete the folder, or choose another --out"
    claim(folder / "settings.json", settings, advice)
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
    writer = text_writer(personal, setting.slots)

    def write(shard: Sequence[tuple[int, Example]]) -> list[str]:
        prompts = {
            index: build_prompt(example, personal.tokenizer, personal.prompt)
            for index, example in shard
        }
        texts = dict(writer.write_each(prompts, setting.sampling))
        return [texts[index] for index in prompts]

    return write
