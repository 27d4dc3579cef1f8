"""What the base model writes on the side for a method: summaries, rationales. Written once."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from flythinker.data.prompt import Prompt
from flythinker.generation.sampling import Sampling
from flythinker.generation.write import text_writer
from flythinker.model_folder import load_model_folder
from flythinker.progress import track
from flythinker.runs import Journal

_SLOTS = 16
_REPETITION_PENALTY = 1.2  # greedy text of a small model goes in circles without


def write_base_texts(
    generator: str, messages: Sequence[list[int]], max_tokens: int, file: Path, description: str
) -> list[str]:
    """The base model's greedy answer to each message, in order.

    Answers are kept in `file` by the hash of model, message and length, each as soon as it
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
        writer = text_writer(load_model_folder(generator), _SLOTS)
        sampling = Sampling(max_tokens, temperature=0, repetition_penalty=_REPETITION_PENALTY)
        # the longest first: too many at a time fail at once
        order = sorted(asked, key=lambda key: -len(asked[key]))
        prompts = {number: Prompt(asked[key], [], ()) for number, key in enumerate(order)}
        texts = writer.write_each(prompts, sampling)
        for number, text in track(texts, description, len(order), unit="/text"):
            known[order[number]] = text
            journal.add({"key": order[number], "text": text})
    return [known[key] for key in keys]
