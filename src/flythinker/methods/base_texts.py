"""What the base model writes on the side for a method: summaries, rationales. Written once."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from flythinker.data.batch import batches_by_length
from flythinker.data.prompt import Prompt
from flythinker.generation.sampling import Sampling, respond
from flythinker.model_folder import load_model_folder
from flythinker.progress import track
from flythinker.runs import Journal

_BATCH = 16
_REPETITION_PENALTY = 1.2  # greedy text of a small model goes in circles without


def write_base_texts(
    generator: str, messages: Sequence[list[int]], max_tokens: int, file: Path, description: str
) -> list[str]:
    """The base model's greedy answer to each message, in order.

    Answers are kept in `file` by the hash of model, message and length, each batch as soon as it
    is written, so they are written once, whatever run, seed or method asks. A killed run goes on.

    Args:
        generator: folder, hub name or `smollm2-135m` of the base model; loaded if needed at all.
        messages: token ids of each, with the chat template's own around (`message_ids`).
        max_tokens: longest answer.
    """
    keys = [sha256(repr((generator, ids, max_tokens)).encode()).hexdigest() for ids in messages]
    journal = Journal(file)
    known = {entry["key"]: entry["text"] for entry in journal.entries}
    asked = {key: ids for key, ids in zip(keys, messages, strict=True) if key not in known}
    if asked:
        base = load_model_folder(generator)
        sampling = Sampling(max_new_tokens=max_tokens, temperature=0)
        missing = list(asked)
        batches = batches_by_length([len(asked[key]) for key in missing], _BATCH)
        for indices in track(batches, description, unit="/batch"):
            batch = [missing[index] for index in indices]
            prompts = [Prompt(asked[key], [], ()) for key in batch]
            texts = respond(base, prompts, sampling, repetition_penalty=_REPETITION_PENALTY)
            known |= zip(batch, texts, strict=True)
            journal.add(*({"key": key, "text": known[key]} for key in batch))
    return [known[key] for key in keys]
