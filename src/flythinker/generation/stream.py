"""One text for one user, piece by piece as it is written."""

from collections.abc import Iterator
from threading import Thread

import torch
from transformers import TextIteratorStreamer

from flythinker.data.prompt import Prompt
from flythinker.generation.sampling import Sampling, generate_arguments
from flythinker.model_folder import PersonalModel


def stream_text(personal: PersonalModel, prompt: Prompt, sampling: Sampling) -> Iterator[str]:
    """Yield the response in pieces of whole words; what fails in the model is raised here."""
    streamer = TextIteratorStreamer(
        personal.tokenizer, skip_prompt=True, skip_special_tokens=True, timeout=None
    )
    failure: list[BaseException] = []

    def run() -> None:
        try:
            torch.manual_seed(sampling.seed)
            arguments = generate_arguments(personal, [prompt], sampling)
            personal.model.generate(**arguments, streamer=streamer)
        except BaseException as error:
            failure.append(error)
            streamer.end()

    thread = Thread(target=run, daemon=True)  # Ctrl-C ends the program at once
    thread.start()
    yield from streamer
    thread.join()
    if failure:
        raise failure[0]
