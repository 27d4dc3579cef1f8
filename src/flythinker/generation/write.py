"""A `Writer`, and a word where it is a slow one."""

import sys

from flythinker.generation.writer import Writer
from flythinker.model_folder import PersonalModel


def text_writer(personal: PersonalModel, slots: int = 8, prefix_bytes: int = 2**30) -> Writer:
    """A `Writer` of `slots` texts at a time, which takes the model over.

    Where a model cannot read slots, a line on standard error says which layer is the reason.
    """
    writer = Writer(personal, slots, prefix_bytes)
    if writer.slower:
        print(f"{writer.slower}: that is slower", file=sys.stderr, flush=True)
    return writer
