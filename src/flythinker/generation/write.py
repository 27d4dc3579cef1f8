"""Which way texts are written: by a `Writer` wherever it can."""

import sys

from flythinker.errors import FlyThinkerError
from flythinker.generation.batch_writer import BatchWriter, generate_texts
from flythinker.generation.writer import Writer
from flythinker.model_folder import PersonalModel


def text_writer(personal: PersonalModel, slots: int = 8) -> Writer | BatchWriter:
    """What writes with a model, `slots` texts at a time: a `Writer`, which takes the model over.

    A model that it refuses (layers that do not attend to the whole text) is written with by
    transformers' `generate`, and a line on standard error says so.
    """
    try:
        return Writer(personal, slots)
    except FlyThinkerError as refusal:
        print(f"{refusal}: that is slower", file=sys.stderr, flush=True)
        return BatchWriter(personal, generate_texts, slots)
