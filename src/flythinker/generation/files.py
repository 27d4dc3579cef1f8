"""Filling a data file with outputs: batched, resumable, never half written."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from flythinker.data.batch import batches_by_length
from flythinker.data.example import Example
from flythinker.data.outputs import least_output_bytes, write_outputs
from flythinker.data.prompt import Prompt
from flythinker.disk import require_room
from flythinker.generation.sampling import Sampling
from flythinker.progress import track
from flythinker.runs import Journal

Respond = Callable[[Sequence[Prompt], Sampling], list[str]]


def generate_file(
    prompts: Sequence[Prompt],
    respond: Respond,
    examples: Sequence[Example],
    out: Path,
    sampling: Sampling,
    batch_size: int = 8,
    description: str = "Writing",
) -> None:
    """Write a response to every example, one JSON line each, in the examples' order.

    `prompts` are the examples', and `respond` writes a batch of them.

    A line holds `user_id`, `query`, `target` and `output`. Finished batches are kept in
    `OUT.partial`, so that a run that was killed goes on where it was; sampling is seeded by the
    batch, so it ends with the same texts. `out` appears when all are written.

    Raises:
        FlyThinkerError: `OUT.partial` was begun with other settings.
        DiskFull: there is no room, already at the start for what surely will be written.
    """
    require_room(out, least_output_bytes(examples), advice="choose another --out")
    batches = batches_by_length([len(prompt.prompt_ids) for prompt in prompts], batch_size)
    partial = out.with_name(out.name + ".partial")
    settings = asdict(sampling) | {"examples": len(examples), "batch_size": batch_size}
    journal = Journal(partial, settings, "use them again, delete it, or choose another --out")
    outputs: dict[int, str] = dict(journal.entries)
    # a batch's seed follows from its number
    missing = [
        (number, batch)
        for number, batch in enumerate(batches)
        if not all(index in outputs for index in batch)
    ]
    done = len(batches) - len(missing)
    for number, batch in track(missing, description, done=done, unit="/batch"):
        texts = respond([prompts[i] for i in batch], replace(sampling, seed=sampling.seed + number))
        outputs |= zip(batch, texts, strict=True)
        journal.add(*zip(batch, texts, strict=True))
    write_outputs(out, examples, [outputs[index] for index in range(len(examples))])
    partial.unlink()
