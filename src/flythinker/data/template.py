"""The chat template of a tokenizer as everything here uses it: written without thinking aloud.

Three things are settled once, in the template itself, so that what is saved with a model makes the
same prompts in any other program:

- A thinking model (Qwen3, SmolLM3, gpt-oss) gets the template's own argument that switches its
  thinking off: the thoughts here are latent, and texts in training hold no others.
- What the template writes between the question and a finished answer stands in the prompt. gpt-oss
  leaves the model to choose a channel; an answer is in the final one.
- A tokenizer without chat template (a base model's) gets a plain one of ours, which is trained in.
"""

import json
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

# Of an argument's two values the first is thinking off, or as little as there is. The first of them
# that changes what a template renders is the template's own.
_ARGUMENTS: dict[str, tuple[Any, Any]] = {
    "enable_thinking": (False, True),
    "thinking": (False, True),
    "reasoning_effort": ("low", "high"),
}
# Paragraphs; a finished answer ends with the EOS that training puts there.
_PLAIN = (
    "{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' and loop.last %}{{ eos_token }}"
    "{% else %}{{ '\\n\\n' }}{% endif %}{% endfor %}"
)
_QUESTION, _ANSWER = "\ue002", "\ue003"  # private-use characters: in no template


def settled_template(tokenizer: PreTrainedTokenizerBase) -> str:
    """The template that prompts are made with; settled anew it is the same.

    >>> from flythinker import load
    >>> tokenizer = load("smollm2-135m").tokenizer  # no thinking model: its template as it is
    >>> settled_template(tokenizer) == tokenizer.chat_template
    True
    """
    if tokenizer.chat_template is None:
        beginning = "".join(tokenizer.convert_ids_to_tokens(first_ids(tokenizer)))
        return (_printed(beginning) if beginning else "") + _PLAIN
    return _without_thinking(tokenizer, tokenizer.get_chat_template())


def first_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """What the tokenizer itself begins a text with: BOS for most models that know one, or nothing.

    A BOS token alone is no sign that texts begin with it: GPT-2 and Qwen2 have one and do without.
    """
    ids = tokenizer("a")["input_ids"]
    alone = tokenizer("a", add_special_tokens=False)["input_ids"]
    starts = range(len(ids) - len(alone) + 1)
    return ids[: next((n for n in starts if ids[n : n + len(alone)] == alone), 0)]


@lru_cache(maxsize=16)
def _without_thinking(tokenizer: PreTrainedTokenizerBase, template: str) -> str:
    question = {"role": "user", "content": _QUESTION}
    answer = {"role": "assistant", "content": _ANSWER}

    def asked(template: str, **arguments: Any) -> str:
        rendered = tokenizer.apply_chat_template(
            [question],
            chat_template=template,
            tokenize=False,
            add_generation_prompt=True,
            **arguments,
        )
        return str(rendered)

    try:
        for name, (off, on) in _ARGUMENTS.items():
            if asked(template, **{name: off}) != asked(template, **{name: on}):
                # the plus signs, here and below: white space beside the tag stays
                template = f"{{% set {name} = {json.dumps(off)} +%}}{template}"
                break
        answered = tokenizer.apply_chat_template(
            [question, answer], chat_template=template, tokenize=False
        )
        before_answer = str(answered).partition(_QUESTION)[2].partition(_ANSWER)[0]
        before_text = asked(template).partition(_QUESTION)[2]
    except TemplateError:  # it takes other conversations, or none: said when one is rendered
        return template
    rest = before_answer.removeprefix(before_text)
    control = [token.content for token in tokenizer.added_tokens_decoder.values()]
    if rest == before_answer or not any(token in rest for token in control):
        return template  # a space that begins an answer, say, belongs to the answer
    # Jinja drops a line break at the end of a template, and only there
    template = template.removesuffix("\n")
    return f"{template}{{%+ if add_generation_prompt %}}{_printed(rest)}{{% endif %}}"


def _printed(text: str) -> str:
    return f"{{{{ {json.dumps(text)} }}}}"
