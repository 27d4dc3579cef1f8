"""CoT: think once in words, then write (Wei et al., 2201.11903; paper, baselines)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from flythinker.data.batch import Row, encode_prompt
from flythinker.data.example import Example
from flythinker.data.prompt import (
    Prompt,
    PromptConfig,
    build_prompt,
    end_of_turn_id,
    message_ids,
    text_ids,
)
from flythinker.generation.batch_writer import BatchWriter, batches
from flythinker.generation.sampling import Sampling
from flythinker.generation.writer import Writer
from flythinker.methods.base import Tuned
from flythinker.methods.base_texts import write_base_texts
from flythinker.progress import track
from flythinker.training.run import Recipe

Pair = tuple[str, str]
"""A rationale and the response written after it."""

_REQUEST = (
    "{texts}I was asked:\n{query}\n\nThis is what I wrote:\n{target}\n\nIn a few sentences, say "
    "what this shows of my interests, my opinions and my style, and give a short plan of what I "
    "wrote. Do not quote it."
)


@dataclass
class CoT(Tuned):
    """The Generator trained to write down preferences and a plan, then the response.

    The rationales it learns from are written by the untrained Generator, which sees the past
    texts, the query and the user's own response; they are kept on disk. When it writes, its own
    rationale is sampled first, ended by the token that ends a turn, and the response goes on from
    there. The paper does not say who wrote its rationales; ours need no other model.

    The held-out loss is that of the response after the model's own greedy rationale.

    Attributes:
        rationale_tokens: longest rationale.
    """

    label: ClassVar[str] = "CoT"

    rationale_tokens: int = 128

    def recipe(self) -> Recipe:
        """Train on rationale and response."""
        return Recipe(encode=self._encode)

    def losses(self, prompts: Sequence[Prompt], batch_size: int) -> list[NDArray[np.float32]]:
        """Nats of each response token, after a greedy rationale."""
        greedy = Sampling(temperature=0)
        thought = self.think(self.writer, dict(enumerate(prompts)), greedy)
        about = f"Rationales of {self.label}"
        ready = dict(track(thought, about, len(prompts), unit="/text"))
        return super().losses([ready[number][0] for number in range(len(prompts))], batch_size)

    def write_each(
        self, prompts: Mapping[int, Prompt], sampling: Sampling
    ) -> Iterator[tuple[int, str]]:
        """Think, then write."""
        for number, (_, response) in self.write_pairs(self.writer, prompts, sampling):
            yield number, response

    def write_pairs(
        self, writer: Writer | BatchWriter, prompts: Mapping[int, Prompt], sampling: Sampling
    ) -> Iterator[tuple[int, Pair]]:
        """A rationale and a response to each prompt, by its number."""
        for batch in batches(prompts, self.slots):  # a kill loses no more than its rationales
            thought = dict(self.think(writer, batch, sampling))
            extended = {number: prompt for number, (prompt, _) in thought.items()}
            for number, response in writer.write_each(extended, sampling):
                yield number, (thought[number][1], response)

    def think(
        self, writer: Writer | BatchWriter, prompts: Mapping[int, Prompt], sampling: Sampling
    ) -> Iterator[tuple[int, tuple[Prompt, str]]]:
        """Each prompt with a rationale of `writer`'s own at its end, and the rationale."""
        short = replace(sampling, max_new_tokens=self.rationale_tokens, min_new_tokens=0)
        for number, rationale in writer.write_each(prompts, short):
            thought = with_rationale(prompts[number], rationale, writer.personal.tokenizer)
            yield number, (thought, rationale)

    def rationales(
        self, examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, prompt: PromptConfig
    ) -> list[str]:
        """What the untrained Generator says of each example, its target seen."""
        messages = []
        for example in examples:
            built = build_prompt(example, tokenizer, prompt)
            texts = "\n\n".join(document.text.strip() for document in built.documents)
            request = _REQUEST.format(
                texts=f"Texts I wrote before:\n\n{texts}\n\n" if texts else "",
                query=example.query.strip(),
                target=tokenizer.decode(built.response_ids, skip_special_tokens=True),
            )
            messages.append(message_ids(request, tokenizer))
        return write_base_texts(
            self.config.model.pretrained(),
            messages,
            self.rationale_tokens,
            self.shared / "rationales.jsonl",
            "Rationales",
        )

    def _encode(
        self, examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, prompt: PromptConfig
    ) -> list[Row]:
        rationales = self.rationales(examples, tokenizer, prompt)
        return [
            encode_rationale(build_prompt(example, tokenizer, prompt), rationale, tokenizer)
            for example, rationale in zip(examples, rationales, strict=True)
        ]


def with_rationale(prompt: Prompt, rationale: str, tokenizer: PreTrainedTokenizerBase) -> Prompt:
    """`prompt` with a rationale and what ends it; the response goes on from there."""
    ids = [*text_ids(tokenizer, rationale.strip()), end_of_turn_id(tokenizer)]
    return replace(prompt, prompt_ids=prompt.prompt_ids + ids)


def encode_rationale(prompt: Prompt, rationale: str, tokenizer: PreTrainedTokenizerBase) -> Row:
    """A row that is learned from the rationale on."""
    thought = with_rationale(prompt, rationale, tokenizer)
    learned = thought.prompt_ids[len(prompt.prompt_ids) :] + prompt.response_ids
    return encode_prompt(replace(prompt, response_ids=learned))
