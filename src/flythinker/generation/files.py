"""Filling a data file with outputs: resumable, never half written."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from flythinker.data.example import Example
from flythinker.data.outputs import least_output_bytes, write_outputs
from flythinker.data.prompt import Prompt
from flythinker.disk import require_room
from flythinker.generation.sampling import Sampling
from flythinker.progress import track
from flythinker.runs import Journal

WriteEach = Callable[[Mapping[int, Prompt], Sampling], Iterator[tuple[int, str]]]
"""Writes texts and yields each with its number when it is over, as `Writer.write_each`."""


def generate_file(
    prompts: Sequence[Prompt],
    write_each: WriteEach,
    examples: Sequence[Example],
    out: Path,
    sampling: Sampling,
    description: str = "Writing",
) -> None:
    """Write a response to every example, one JSON line each, in the examples' order.

    `prompts` are the examples', and `write_each` writes them.

    A line holds `user_id`, `query`, `target` and `output`. Finished texts are kept in
    `OUT.partial`, so that a run that was killed goes on where it was; a text is drawn by its place
    in the file, so it ends with the same texts. `out` appears when all are written.

    Raises:
        FlyThinkerError: `OUT.partial` was begun with other settings.
        DiskFull: there is no room, already at the start for what surely will be written.
    """
    require_room(out, least_output_bytes(examples), advice="choose another --out")
    partial = out.with_name(out.name + ".partial")
    settings = asdict(sampling) | {"examples": len(examples)}
    journal = Journal(partial, settings, "use them again, delete it, or choose another --out")
    outputs: dict[int, str] = dict(journal.entries)
    done = len(outputs)
    # the longest first: too many at a time fail at once
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i].prompt_ids))
    missing = {number: prompts[number] for number in order if number not in outputs}
    written = write_each(missing, sampling)
    for number, text in track(written, description, len(prompts), done, unit="/text"):
        outputs[number] = text
        journal.add((number, text))
    write_outputs(out, examples, [outputs[index] for index in range(len(examples))])
    partial.unlink()
