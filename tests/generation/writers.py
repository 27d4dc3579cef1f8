"""A Writer, and what `generate` writes, for the tests of this folder."""

import copy
from dataclasses import replace

from flythinker.generation.sampling import Sampling
from flythinker.generation.writer import Writer
from reference import respond

GREEDY = Sampling(max_new_tokens=20, temperature=0)


def make_writer(personal, **settings) -> Writer:
    """A Writer with a copy of the model, which it takes over."""
    return Writer(replace(personal, model=copy.deepcopy(personal.model)), **settings)


def alone(personal, prompt, sampling) -> str:
    """The text of `generate`."""
    return respond(personal, [prompt], sampling)[0]


def finish(writer: Writer) -> None:
    """Write until all texts are over."""
    while not writer.idle:
        writer.step()
