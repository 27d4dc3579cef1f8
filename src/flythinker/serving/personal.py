"""Prompts from conversations and users' past texts, by the code that training uses."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from queue import Empty, SimpleQueue

from transformers import PreTrainedTokenizerBase

from flythinker.data.document import Document
from flythinker.data.example import Example
from flythinker.data.prompt import Prompt, Turn, build_prompt, ranked_texts
from flythinker.errors import FlyThinkerError
from flythinker.generation.backends.protocol import Engine
from flythinker.serving.errors import BadRequest


class Prompter:
    """Makes the prompts of one engine's model.

    The query is the last user message, and it alone chooses the past texts. The messages before
    it stay turns of their own. The query is never cut to `query_tokens`, which is a budget of
    training: a client that asks for too much is told so.
    """

    def __init__(self, engine: Engine) -> None:
        self.context_length = engine.context_length
        self.vocabulary = len(engine.tokenizer)
        self._config = replace(engine.prompt_config, query_tokens=engine.context_length)
        self._tokenizers = _Tokenizers(engine.tokenizer)

    def personal(
        self,
        query: str,
        earlier: Sequence[Turn] = (),
        history: Sequence[Document] = (),
        history_k: int | None = None,
    ) -> Prompt:
        """The prompt for a query of somebody who wrote `history`, oldest first.

        `history_k` past texts are shown at most, instead of as many as in training. A model whose
        Reasoner has a prompt of its own shows them there, and in the Generator's no more than in
        training.

        Raises:
            BadRequest: the chat template refuses the turns, or it is all too long.
        """
        config = self._config
        if history_k is not None and config.reasoner_k is None:
            config = replace(config, k=history_k)
        elif history_k is not None:
            config = replace(config, reasoner_k=history_k, k=min(config.k, history_k))
        example = Example("user", query, "", history)
        try:
            ranked = ranked_texts(example, config)  # of a long history that takes a while
            with self._tokenizers.one() as tokenizer:
                prompt = build_prompt(example, tokenizer, config, earlier=earlier, ranked=ranked)
        except FlyThinkerError as error:
            raise BadRequest(str(error), param="messages", code="invalid_messages") from error
        self.room(prompt)
        return prompt

    def plain(self, text: str) -> Prompt:
        """A text that is read as it is, to go on with; control tokens in it are control tokens.

        Raises:
            BadRequest: it is empty, or too long.
        """
        with self._tokenizers.one() as tokenizer:
            ids = tokenizer(text)["input_ids"]
        return self.verbatim(ids)

    def text(self, query: str | list[int]) -> str:
        """The query as text."""
        if isinstance(query, str):
            return query
        with self._tokenizers.one() as tokenizer:
            return str(tokenizer.decode(query, skip_special_tokens=True))

    def verbatim(self, ids: list[int]) -> Prompt:
        """A prompt that is already tokens.

        Raises:
            BadRequest: they are none of the vocabulary, or too many.
        """
        if not ids or min(ids) < 0 or max(ids) >= self.vocabulary:
            wanted = f"one or more ids from 0 to {self.vocabulary - 1}"
            raise BadRequest(f"a prompt of tokens needs {wanted}", param="prompt")
        prompt = Prompt(ids, [], ())
        self.room(prompt)
        return prompt

    def room(self, prompt: Prompt, wanted: int | None = None) -> int:
        """How many tokens may be written: those `wanted`, else as many as in training if they fit.

        Raises:
            BadRequest: the context has no room for them, or for any.
        """
        used = max(len(prompt.prompt_ids), len(prompt.reasoner_ids or ()))
        left = self.context_length - used
        needed = 1 if wanted is None else wanted
        if left < needed:
            raise BadRequest(
                f"the model's context holds {self.context_length} tokens; the prompt has {used} "
                f"and {needed} more are to be written",
                param="max_tokens" if left > 0 else "messages",
                code="context_length_exceeded",
            )
        return min(left, self._config.response_tokens) if wanted is None else wanted


class _Tokenizers:
    """Copies of one tokenizer, as many as are in use at the same time.

    A tokenizer is told by a switch in itself whether "<|im_end|>" in a text is a control token: it
    must not be shared with another thread that sets the switch meanwhile. None waits for another.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._pristine = copy.deepcopy(tokenizer)  # which nobody uses
        self._free: SimpleQueue[PreTrainedTokenizerBase] = SimpleQueue()
        self._free.put(copy.deepcopy(tokenizer))

    @contextmanager
    def one(self) -> Iterator[PreTrainedTokenizerBase]:
        """A copy that is the caller's alone inside."""
        try:
            tokenizer = self._free.get_nowait()
        except Empty:
            tokenizer = copy.deepcopy(self._pristine)
        try:
            yield tokenizer
        finally:
            self._free.put(tokenizer)
