"""From an example to token ids: retrieved profile + query as one chat message, then the response.

A user's text never becomes a control token: the chat template is rendered around placeholders
and each text is tokenised on its own with `split_special_tokens=True`, so that `<|im_end|>` in a
history is seven harmless tokens and cannot end the message.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Literal

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from flythinker.data.document import Document
from flythinker.data.example import Example
from flythinker.data.profile import (
    PROFILE_HEADER,
    Cut,
    cut_to_tokens,
    fit_profile,
    render_document,
)
from flythinker.data.retrieval import RetrievalMethod, retrieve
from flythinker.data.template import settled_template
from flythinker.errors import FlyThinkerError
from flythinker.progress import track

logger = logging.getLogger(__name__)

_SUMMARY_HEADER = "How I write:"
_QUERY_HEADER = "Now write as I would, in my own style."
_PLACEHOLDER = "\ue000{}\ue001"  # private-use characters: in no template
_PLACEHOLDERS = re.compile("\ue000([0-9]+)\ue001")


@dataclass(frozen=True)
class PromptConfig:
    """How a prompt is made. The budgets are in tokens; texts are cut at sentence ends.

    Of a past text that does not fit, `cut` keeps the sentences most `relevant` to the query, or
    the `beginning`, which may be none; default: `beginning`, as of models trained before there
    was a choice. `encoder` is the sentence encoder of `dense` retrieval, a folder or hub name such
    as a multilingual one; default: MiniLM. With `reasoner_k` the Reasoner gets a prompt of its
    own, of up to `reasoner_k` past texts in `reasoner_profile_tokens` (default: `profile_tokens`),
    while the Generator reads `k`. A response that does not fit ends with its last `token` that
    does or its last `sentence`; default: `sentence`, as of models trained before there was a
    choice. That one teaches to stop: near the budget a model sees which sentences were the last
    ones, but not after which another began (docs/from-scratch.md).

    >>> from flythinker import PromptConfig
    >>> PromptConfig(k=2, profile_tokens=400).retrieval
    'bm25'
    """

    retrieval: RetrievalMethod = "bm25"
    k: int = 4
    profile_tokens: int = 1250
    query_tokens: int = 300
    response_tokens: int = 1000
    system: str | None = None
    reasoner_k: int | None = None
    reasoner_profile_tokens: int | None = None
    cut: Cut | None = None
    encoder: str | None = None
    response_cut: Literal["token", "sentence"] | None = None


@dataclass(frozen=True)
class Prompt:
    """Token ids of one example.

    `response_ids` end with the id that closes an assistant turn, unless the response was cut by
    its budget (it did not end there); they are empty for an example without a target.
    `documents` are the past texts shown, the last one possibly cut. `reasoner_ids` is the
    Reasoner's own prompt; `None`: it reads `prompt_ids`.
    """

    prompt_ids: list[int]
    response_ids: list[int]
    documents: tuple[Document, ...]
    reasoner_ids: list[int] | None = None


@dataclass(frozen=True)
class Turn:
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    text: str


def build_prompt(
    example: Example,
    tokenizer: PreTrainedTokenizerBase,
    config: PromptConfig,
    summary: str = "",
    earlier: Sequence[Turn] = (),
    ranked: Sequence[Document] | None = None,
) -> Prompt:
    """Retrieve, cut to the budgets and tokenise, with the chat template of `settled_template`.

    >>> from flythinker import Document, Example, build_prompt, load
    >>> personal = load("smollm2-135m")
    >>> past = (Document("The tide was out."), Document("Snow fell on the hills all night."))
    >>> example = Example("me", "Write about snow.", "It snowed.", past)
    >>> prompt = build_prompt(example, personal.tokenizer, personal.prompt)
    >>> prompt.documents[0].text  # the most relevant first
    'Snow fell on the hills all night.'
    >>> personal.tokenizer.decode(prompt.response_ids)
    'It snowed.<|im_end|>'

    `summary` is something said of the user's writing as a whole; it stands before the profile.
    `earlier` is what was said before the query, whole; see `message_ids`. `ranked` are the past
    texts as `ranked_texts` gives them, where that was done before.

    Raises:
        FlyThinkerError: the tokenizer's chat template refuses the messages.
    """

    tokenize = partial(text_ids, tokenizer)

    if ranked is None:
        ranked = ranked_texts(example, config)

    def profile(k: int, budget: int) -> tuple[Document, ...]:
        return fit_profile(ranked[: max(k, 0)], budget, tokenize, example.query, config.cut)

    query = cut_to_tokens(example.query.strip(), config.query_tokens, tokenize)
    if len(query) < len(example.query.strip()):
        _warn_cut_query(config.query_tokens)

    def prompt(documents: Sequence[Document]) -> list[int]:
        message = _render_message(summary, documents, query)
        return message_ids(message, tokenizer, config.system, earlier)

    documents = profile(config.k, config.profile_tokens)
    reasoner_ids = None
    if config.reasoner_k is not None:
        budget = config.reasoner_profile_tokens or config.profile_tokens
        reasoner_ids = prompt(profile(config.reasoner_k, budget))

    response_ids = _response_ids(example.target.strip(), tokenizer, config)
    return Prompt(prompt(documents), response_ids, documents, reasoner_ids)


def _response_ids(
    target: str, tokenizer: PreTrainedTokenizerBase, config: PromptConfig
) -> list[int]:
    """See `Prompt.response_ids`."""
    ids = text_ids(tokenizer, target)
    if len(ids) <= config.response_tokens:
        return [*ids, end_of_turn_id(tokenizer)] if target else []
    if config.response_cut == "token":
        return ids[: config.response_tokens]
    tokenize = partial(text_ids, tokenizer)
    return tokenize(cut_to_tokens(target, config.response_tokens, tokenize))


def ranked_texts(example: Example, config: PromptConfig) -> list[Document]:
    """The past texts that a prompt may show, best first: as many as either part reads."""
    k = max(config.k, config.reasoner_k or 0)
    return retrieve(example.history, example.query, k, config.retrieval, config.encoder)


def build_prompts(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, config: PromptConfig
) -> list[Prompt]:
    """As `build_prompt`, of all examples; shows how far it is."""
    shown = track(examples, "Making prompts", transient=True)
    return [build_prompt(example, tokenizer, config) for example in shown]


def text_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The ids of a user's text, in which nothing becomes a control token."""
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


def message_ids(
    text: str,
    tokenizer: PreTrainedTokenizerBase,
    system: str | None = None,
    earlier: Sequence[Turn] = (),
) -> list[int]:
    """The ids of `text` as the user's message, up to where the assistant begins to answer.

    `earlier` are the turns before it. `system`, which may hold control tokens, begins them unless
    they have a system turn of their own.

    Raises:
        FlyThinkerError: the chat template refuses the messages.
    """
    turns = [*earlier, Turn("user", text)]
    if any(turn.role == "system" for turn in earlier):
        system = None
    around, *rest = _PLACEHOLDERS.split(_render_turns(turns, tokenizer, system))
    ids = _control_ids(tokenizer, around)  # BOS, where the model has one, is in the template
    for number, around in zip(rest[::2], rest[1::2], strict=True):
        ids += text_ids(tokenizer, turns[int(number)].text) + _control_ids(tokenizer, around)
    return ids


def end_of_turn_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id that the chat template closes an assistant turn with, else the tokenizer's EOS."""
    turns = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": _PLACEHOLDER.format(0)},
    ]
    template = settled_template(tokenizer)
    rendered = str(tokenizer.apply_chat_template(turns, chat_template=template, tokenize=False))
    closing = _control_ids(tokenizer, _PLACEHOLDERS.split(rendered)[-1].lstrip())
    if closing and closing[0] in tokenizer.added_tokens_decoder:
        return closing[0]
    return _eos(tokenizer)


def _render_message(summary: str, documents: Sequence[Document], query: str) -> str:
    known = [f"{_SUMMARY_HEADER}\n{summary.strip()}"] if summary.strip() else []
    if documents:
        known.append(PROFILE_HEADER + "".join(map(render_document, documents)))
    return "\n\n".join([*known, f"{_QUERY_HEADER}\n{query}"]) if known else query


def _render_turns(
    turns: Sequence[Turn], tokenizer: PreTrainedTokenizerBase, system: str | None
) -> str:
    """The conversation with a placeholder for each text."""
    messages = [
        {"role": turn.role, "content": _PLACEHOLDER.format(number)}
        for number, turn in enumerate(turns)
    ]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    try:
        rendered = tokenizer.apply_chat_template(
            messages,
            chat_template=settled_template(tokenizer),
            tokenize=False,
            add_generation_prompt=True,
        )
    except TemplateError as error:  # Gemma's, for one, knows no system message
        has_system = messages[0]["role"] == "system"
        hint = "; remove the system message" if has_system else ""
        raise FlyThinkerError(
            f"the tokenizer's chat template refuses the messages ({error}){hint}"
        ) from error
    return str(rendered)


def _control_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def _eos(tokenizer: PreTrainedTokenizerBase) -> int:
    if not isinstance(tokenizer.eos_token_id, int):
        raise FlyThinkerError("the tokenizer has no EOS token; set tokenizer.eos_token")
    return tokenizer.eos_token_id


@cache
def _warn_cut_query(budget: int) -> None:
    logger.warning(
        "a query is longer than query_tokens=%d and was cut; later ones are cut silently", budget
    )
