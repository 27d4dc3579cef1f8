"""LLM-TRSR: a summary of the user, made block by block (Zheng et al., 2403.13325)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

from transformers import PreTrainedTokenizerBase

from flythinker.data.batch import Row, encode_prompt
from flythinker.data.example import Document, Example
from flythinker.data.profile import cut_to_tokens
from flythinker.data.prompt import (
    Prompt,
    PromptConfig,
    build_prompt,
    message_ids,
    text_ids,
)
from flythinker.methods.base import Tuned
from flythinker.methods.base_texts import write_base_texts
from flythinker.training.run import Recipe

_FIRST = (
    "Here are texts by one author.\n\n{texts}\n\nIn a few sentences, describe the author's "
    "interests, opinions and style of writing."
)
_NEXT = (
    "Here is what is known of an author.\n\n{summary}\n\nHere are later texts by the same author."
    "\n\n{texts}\n\nIn a few sentences, bring the description of the author's interests, opinions "
    "and style of writing up to date."
)


@dataclass
class TRSR(Tuned):
    """SFT whose prompts also hold a summary of the user, written by the untrained Generator.

    The newest past texts are split in blocks; the summary of one block goes into the prompt for
    the next (the paper's recurrent summarization). It is made of the history alone, so it is the
    same for all queries of a user at one time and never sees a target. The paper recommends items
    from a summary of what a user clicked; here the summary stands before the retrieved past texts
    that SFT reads as well.

    Attributes:
        blocks: how many, the last being the newest.
        block_tokens: of past texts in a block. `summary_tokens`: of a summary.
    """

    label: ClassVar[str] = "LLM-TRSR"

    blocks: int = 3
    block_tokens: int = 600
    summary_tokens: int = 128

    def prompts(self, examples: Sequence[Example]) -> list[Prompt]:
        """SFT's prompts with the summaries in them."""
        prompt = replace(self.config.prompt, response_tokens=self.response_tokens)
        return self._summarized(examples, self.personal.tokenizer, prompt)

    def recipe(self) -> Recipe:
        """Train on prompts with summaries."""
        return Recipe(encode=self._encode)

    def summaries(
        self, examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase
    ) -> list[str]:
        """A summary of each example's history; empty for an empty history."""
        split = [self._split(example.history, tokenizer) for example in examples]
        summaries = [""] * len(examples)
        for turn in range(self.blocks):
            reading = [i for i, blocks in enumerate(split) if turn < len(blocks)]
            messages = [
                (_NEXT if summaries[i] else _FIRST).format(
                    texts=split[i][turn], summary=summaries[i]
                )
                for i in reading
            ]
            answers = write_base_texts(
                self.config.model.pretrained(),
                [message_ids(message, tokenizer) for message in messages],
                self.summary_tokens,
                self.shared / "summaries.jsonl",
                f"Summaries, block {turn + 1} of {self.blocks}",
            )
            for i, answer in zip(reading, answers, strict=True):
                summaries[i] = answer or summaries[i]
        return summaries

    def _split(self, history: Sequence[Document], tokenizer: PreTrainedTokenizerBase) -> list[str]:
        """The newest texts in up to `blocks` blocks, oldest first."""
        tokenize = partial(text_ids, tokenizer)
        blocks: list[list[str]] = []
        left = 0
        for document in reversed(history):
            text = cut_to_tokens(document.text.strip(), self.block_tokens, tokenize)
            length = len(tokenize(text))
            if length > left:
                if len(blocks) == self.blocks:
                    break
                blocks.append([])
                left = self.block_tokens
            blocks[-1].append(text)
            left -= length
        return ["\n\n".join(reversed(block)) for block in reversed(blocks)]

    def _summarized(
        self,
        examples: Sequence[Example],
        tokenizer: PreTrainedTokenizerBase,
        prompt: PromptConfig,
    ) -> list[Prompt]:
        summaries = self.summaries(examples, tokenizer)
        return [
            build_prompt(example, tokenizer, prompt, summary)
            for example, summary in zip(examples, summaries, strict=True)
        ]

    def _encode(
        self,
        examples: Sequence[Example],
        tokenizer: PreTrainedTokenizerBase,
        prompt: PromptConfig,
    ) -> list[Row]:
        return [encode_prompt(built) for built in self._summarized(examples, tokenizer, prompt)]
