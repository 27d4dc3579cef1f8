"""The protocol of a compared method, and what most methods share."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from flythinker.data.batch import Collator, encode_prompt
from flythinker.data.example import Example
from flythinker.data.prompt import Prompt, build_prompts
from flythinker.generation.batch_writer import BatchWriter
from flythinker.generation.sampling import Sampling
from flythinker.generation.write import text_writer
from flythinker.generation.writer import Writer
from flythinker.model_folder import PersonalModel, load_model_folder
from flythinker.scoring.losses import token_losses
from flythinker.training.config import FlyThinkerTrainingArguments, RunConfig
from flythinker.training.run import Recipe, train


@dataclass
class Method:
    """A way to write as a user: what it reads, what it trains (if anything), how it writes.

    Every method gets the same data, budgets, seed and optimizer settings, in `config`. Called in
    this order: `train`, then `prompts` of the examples, then `losses` and `write_each` on those.

    Attributes:
        config: the settings of the comparison; `config.training.output_dir` is not used.
        folder: the method's own: what it trains and caches. All of it resumes after a kill.
        response_tokens: the longest held-out response whose loss is measured (the training's own
            budget is `config.prompt.response_tokens`).
        shared: a folder for what does not depend on the seed and can be used by other methods.
        slots: texts written at the same time.
    """

    label: ClassVar[str]
    trains: ClassVar[bool] = False
    writes: ClassVar[bool] = True  # a control may have losses only

    config: RunConfig
    folder: Path
    shared: Path
    response_tokens: int
    slots: int = 8

    def train(self) -> None:
        """Train what there is to train, or go on with it; a finished training is not repeated."""

    def prompts(self, examples: Sequence[Example]) -> list[Prompt]:
        """What the method reads of each example; `response_ids` are the example's own target."""
        prompt = replace(self.config.prompt, response_tokens=self.response_tokens)
        return build_prompts(examples, self.personal.tokenizer, prompt)

    def losses(self, prompts: Sequence[Prompt], batch_size: int) -> list[NDArray[np.float32]]:
        """Nats of each response token, one array per prompt; the same tokens for every method."""
        return token_losses(
            self.personal.model,
            [encode_prompt(prompt) for prompt in prompts],
            Collator(self.personal.tokenizer.pad_token_id),
            batch_size,
            f"Held-out loss of {self.label}",
        )

    def write_each(
        self, prompts: Mapping[int, Prompt], sampling: Sampling
    ) -> Iterator[tuple[int, str]]:
        """Write a response to each prompt, see `Writer.write_each`."""
        return self.writer.write_each(prompts, sampling)

    def respond(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[str]:
        """Write a response to each prompt; text i is drawn as `sampling.for_text(i)`."""
        texts = dict(self.write_each(dict(enumerate(prompts)), sampling))
        return [texts[number] for number in sorted(texts)]

    @cached_property
    def personal(self) -> PersonalModel:
        """The model that writes: the trained one, or the Generator as it comes."""
        if self.trains:
            return load_model_folder(str(self.folder / "train" / "model"))
        return load_model_folder(self.config.model.pretrained(), self.config.prompt)

    @cached_property
    def writer(self) -> Writer | BatchWriter:
        """What writes; it takes over `personal`, which is loaded anew when it is asked for again.

        So there is one model in memory where texts come last.
        """
        personal = self.personal
        del self.personal
        return text_writer(personal, self.slots)


@dataclass
class Tuned(Method):
    """A method that trains the Generator on its prompts, through the one training of the project.

    What differs from SFT is in `training_config` and `recipe`.
    """

    trains: ClassVar[bool] = True

    def train(self) -> None:
        """Train into `folder/train`, resuming there."""
        train(self.training_config(), recipe=self.recipe())

    def training_config(self) -> RunConfig:
        """The comparison's settings, for this method's model: by default no Reasoner."""
        model = replace(self.config.model, reasoner=None, reasoner_layers=None, fusion_weight=0.0)
        return replace(self.config, model=model, training=self.arguments())

    def arguments(self) -> FlyThinkerTrainingArguments:
        """The comparison's training arguments, with this method's own output folder."""
        arguments = copy.copy(self.config.training)
        arguments.output_dir = str(self.folder / "train")
        return arguments

    def recipe(self) -> Recipe:
        """How the training differs from SFT's."""
        return Recipe()
