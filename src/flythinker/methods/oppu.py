"""OPPU: one adapter of the Generator a person (arXiv 2402.04401); and of the Reasoner, our own.

Both go on with a finished model that many share, and read the same prompts as it does. What an
adapter brings is not all the person's: the controls learn from others.
"""

import hashlib
import json
import random
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from flythinker.adaptation.adapt import SCALE, AdaptSettings, learn
from flythinker.adapter import (
    About,
    Adapter,
    Part,
    changed,
    fingerprint,
    load_adapter,
    save_adapter,
)
from flythinker.data.batch import encode
from flythinker.data.example import Example, read_examples
from flythinker.data.prompt import Prompt
from flythinker.data.words import count_words
from flythinker.errors import FlyThinkerError
from flythinker.generation.sampling import Sampling
from flythinker.generation.writer import Writer
from flythinker.methods.base import Method
from flythinker.model_folder import PersonalModel, load_model_folder
from flythinker.progress import track

Of = Literal["own", "another", "contemporaries"]

_NAN = float("nan")


@dataclass
class OPPU(Method):
    """Each person's newest texts change the Generator, which reads their history besides.

    Attributes:
        writings: example file that holds what there is to learn of each person of the test.
        texts: how many of a person's, the newest; all of them where there are fewer.
        of: whose texts change the model that a person is written with: their "own"; those of
            "another" person, the next by name; or "contemporaries", a draw of as many from those of
            the others that are nearest in date.
        edits: so many, the newest, teach once more, as if they were what the person made of texts
            written for them: see `flythinker.adaptation.teaching`.
    """

    label: ClassVar[str] = "OPPU"
    trains: ClassVar[bool] = True
    part: ClassVar[Part] = "generator"

    writings: str = ""
    texts: int = 100
    of: Of = "own"
    edits: int = 0

    def train(self) -> None:
        """Learn an adapter a person; those that are there are not learned again.

        Raises:
            FlyThinkerError: no `writings`, or of a single person where others' are asked for.
        """
        adapters = self.adapters.values()
        self.personal = replace(
            self.personal,
            training={
                "persons": len(self.adapters),
                "texts": [adapter.about.texts for adapter in adapters],
                "seconds": [adapter.about.seconds for adapter in adapters],
                "bytes": max(adapter.bytes for adapter in adapters),
            },
        )

    def prompts(self, examples: Sequence[Example]) -> list[Prompt]:
        """The shared model's prompts; whose they are is kept for what follows.

        Raises:
            FlyThinkerError: a person of whom `writings` has nothing.
        """
        self._users = [example.user_id for example in examples]
        if unknown := set(self._users) - self.adapters.keys():
            raise FlyThinkerError(f"{self.writings}: no text of {sorted(unknown)[0]} to learn from")
        return super().prompts(examples)

    def losses(self, prompts: Sequence[Prompt], batch_size: int) -> list[NDArray[np.float32]]:
        """The losses as every method measures them, person after person."""
        places = defaultdict(list)
        for place, user in enumerate(self._users):
            places[user].append(place)
        found: dict[int, NDArray[np.float32]] = {}
        for user, own in places.items():
            with changed(self.personal.model, self.adapters[user]):
                losses = super().losses([prompts[place] for place in own], batch_size)
            found.update(zip(own, losses, strict=True))
        return [found[place] for place in range(len(prompts))]

    def write_each(
        self, prompts: Mapping[int, Prompt], sampling: Sampling
    ) -> Iterator[tuple[int, str]]:
        """Write a response to each prompt as its person, see `Writer.write_each`."""
        adapters = {number: self.adapters[self._users[number]] for number in prompts}
        writer = self.writer
        assert isinstance(writer, Writer)
        return writer.write_each(prompts, sampling, adapters)

    @cached_property
    def personal(self) -> PersonalModel:
        """The model that all share, in float32: what is learned in it is small."""
        name = self.config.model.pretrained()
        return load_model_folder(name, self.config.prompt, torch.float32)

    @cached_property
    def adapters(self) -> dict[str, Adapter]:
        """The adapter that each person is written with."""
        if not self.writings:
            raise FlyThinkerError("options.writings: name the example file to learn persons from")
        by_user = defaultdict(list)
        for example in read_examples(self.writings):
            by_user[example.user_id].append(example)
        chosen = chosen_texts(by_user, self.texts, self.of)
        about = track(chosen.items(), f"Learning persons for {self.label}")
        return {
            user: self._adapter(user, [*examples, *examples[len(examples) - self.edits :]])
            for user, examples in about
        }

    def _adapter(self, user: str, examples: Sequence[Example]) -> Adapter:
        """What these texts teach, from `shared` where it has been learned before."""
        settings = AdaptSettings(self.part, seed=self.config.training.seed)
        base = fingerprint(self.personal.model, self.part)
        prompt = self.config.prompt
        depends = [base, repr(settings), repr(prompt), [(e.query, e.target) for e in examples]]
        name = hashlib.sha256(json.dumps(depends).encode()).hexdigest()[:16]
        file = self.shared / "adapters" / f"{name}.adapter"
        if file.exists():
            return load_adapter(file)
        work, started = file.with_suffix(".work"), time.monotonic()
        rows = encode(examples, self.personal.tokenizer, prompt)
        changes = learn(self.personal, rows, work, settings)
        about = About(
            user=user,
            part=self.part,
            base=base,
            scale=SCALE,
            texts=len(examples),
            words=sum(count_words(example.target) for example in examples),
            held_out=0,  # the comparison judges
            before=_NAN,
            after=_NAN,
            gain=_NAN,
            low=_NAN,
            high=_NAN,
            seconds=time.monotonic() - started,
            made=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        save_adapter(file, adapter := Adapter(about, changes))
        shutil.rmtree(work)
        return adapter


@dataclass
class PersonalReasoner(OPPU):
    """Each person's texts change the Reasoner and the projection; the Generator is everybody's."""

    label: ClassVar[str] = "FlyThinker, personal Reasoner"
    part: ClassVar[Part] = "reasoner"


def chosen_texts(
    by_user: Mapping[str, Sequence[Example]], count: int, of: Of
) -> dict[str, list[Example]]:
    """The texts, oldest first, that each person's adapter learns from, see `OPPU.of`.

    Raises:
        FlyThinkerError: others' are asked for, and there are none.
    """
    ordered = {user: sorted(own, key=lambda e: e.date) for user, own in sorted(by_user.items())}
    own = {user: examples[-count:] for user, examples in ordered.items()}
    if of == "own":
        return own
    if len(own) < 2:
        raise FlyThinkerError(f"options.of={of} takes texts of two persons or more")
    users = list(own)
    if of == "another":
        return {user: own[users[place - 1]] for place, user in enumerate(users)}
    return {
        user: _contemporaries(
            examples, [e for other in users if other != user for e in ordered[other]], user
        )
        for user, examples in own.items()
    }


def _contemporaries(own: Sequence[Example], others: Sequence[Example], user: str) -> list[Example]:
    """As many of the others' texts, drawn from the three times as many nearest in date."""
    middle = _year(own[len(own) // 2])
    near = sorted(others, key=lambda example: abs(_year(example) - middle))[: 3 * len(own)]
    drawn = random.Random(user).sample(near, min(len(own), len(near)))
    return sorted(drawn, key=lambda example: example.date)


def _year(example: Example) -> int:
    return int(example.date[:4] or 0)
