"""REST-PG: reasoning-enhanced self-training (Salemi et al., 2501.04167)."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from transformers import PreTrainedTokenizerBase
from transformers.trainer_utils import IntervalStrategy

from flythinker.data.batch import Row
from flythinker.data.example import Example, read_examples, sample_examples
from flythinker.data.outputs import read_outputs
from flythinker.data.prompt import Prompt, PromptConfig, build_prompt, build_prompts
from flythinker.files import atomic_folder
from flythinker.generation.files import generate_file
from flythinker.generation.sampling import Sampling
from flythinker.generation.write import text_writer
from flythinker.methods.cot import CoT, Pair, encode_rationale
from flythinker.model_folder import PersonalModel, load_model_folder
from flythinker.scoring.metrics import text_metrics
from flythinker.training.config import RunConfig
from flythinker.training.run import Recipe, train

REWARD = ("rouge1", "rougeL", "meteor")
"""LongLaMP's metrics; a sample's reward is their mean against the user's own text."""


@dataclass
class RestPG(CoT):
    """CoT, then rounds of expectation-maximization self-training.

    In each round the model of the round before samples several rationale + response pairs for
    training examples; of each example the pair whose response is nearest to the user's own text
    is kept, and CoT's model is trained on those (as in ReST-EM, every round starts there). The
    paper scores with the benchmark's metric as well; it starts from rationales of a large model.

    Attributes:
        rounds: of self-training; with none it is CoT.
        samples: pairs for each example. `examples`: how many training examples get them.
        round_steps: optimizer steps of a round.
    """

    label: ClassVar[str] = "REST-PG"

    rounds: int = 1
    samples: int = 4
    examples: int = 500
    round_steps: int = 200

    def train(self) -> None:
        """Train CoT, then do the rounds; what is finished is not repeated."""
        super().train()
        for number in range(1, self.rounds + 1):
            if not self._model(number).exists():
                config = self._round_config(number)
                pairs = self._best_pairs(number, config)
                train(config, recipe=Recipe(encode=_Learn(pairs)))

    @cached_property
    def personal(self) -> PersonalModel:
        """The model of the last round."""
        return load_model_folder(str(self._model(self.rounds)))

    def _model(self, number: int) -> Path:
        return self.folder / ("train" if number == 0 else f"round-{number}") / "model"

    def _round_config(self, number: int) -> RunConfig:
        """CoT's settings, from CoT's weights, on the sampled examples alone."""
        config = self.training_config()
        arguments = config.training
        arguments.output_dir = str(self.folder / f"round-{number}")
        arguments.max_steps = self.round_steps
        arguments.eval_strategy = IntervalStrategy.NO
        arguments.load_best_model_at_end = False
        arguments.early_stopping_patience = None
        count = min(self.examples, config.data.max_train or self.examples)
        return replace(
            config,
            model=replace(config.model, generator=str(self._start())),
            data=replace(config.data, max_train=count, validation=None),
        )

    def _start(self) -> Path:
        """CoT's Generator as a plain causal LM."""
        folder = self.folder / "start"
        if not folder.exists():
            cot = load_model_folder(str(self._model(0)))
            with atomic_folder(folder) as partial:
                cot.model.generator.save_pretrained(partial)
                cot.tokenizer.save_pretrained(partial)
        return folder

    def _best_pairs(self, number: int, config: RunConfig) -> list[Pair]:
        """The best-scoring pair of each example, in their order."""
        examples = sample_examples(read_examples(config.data.train), config.data.max_train)
        personal = load_model_folder(str(self._model(number - 1)))
        writer = text_writer(personal, self.slots)
        prompts = build_prompts(examples, personal.tokenizer, config.prompt)

        def write_each(
            prompts: Mapping[int, Prompt], sampling: Sampling
        ) -> Iterator[tuple[int, str]]:
            for number, pair in self.write_pairs(writer, prompts, sampling):
                yield number, json.dumps(pair)

        sampled = []
        for n in range(self.samples):
            out = self.folder / f"round-{number}" / f"samples-{n}.jsonl"
            if not out.exists():
                seed = config.training.seed + 1000 * (self.samples * number + n)
                sampling = Sampling(config.prompt.response_tokens, seed=seed)
                about = f"Round {number}, sample {n + 1} of {self.samples}"
                generate_file(prompts, write_each, examples, out, sampling, about)
            sampled.append([tuple(json.loads(line)) for line in read_outputs(out, examples)])
        return best_pairs(sampled, [example.target for example in examples])


@dataclass(frozen=True)
class _Learn:
    """Encodes examples with the pairs kept of them in place of what their users wrote."""

    pairs: Sequence[Pair]

    def __call__(
        self, examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, prompt: PromptConfig
    ) -> list[Row]:
        return [
            encode_rationale(
                build_prompt(replace(example, target=response), tokenizer, prompt),
                rationale,
                tokenizer,
            )
            for example, (rationale, response) in zip(examples, self.pairs, strict=True)
            if response.strip()
        ]


def best_pairs(sampled: Sequence[Sequence[Pair]], references: Sequence[str]) -> list[Pair]:
    """The pair of each example whose response has the highest reward; the first of equals.

    `sampled[n][i]` is sample n of example i.
    """
    rewards = []
    for pairs in sampled:
        scores = text_metrics([response for _, response in pairs], references)
        rewards.append(np.mean([scores[metric] for metric in REWARD], axis=0))
    best = np.argmax(rewards, axis=0)
    return [sampled[n][i] for i, n in enumerate(best)]
