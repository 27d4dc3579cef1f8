"""A judge behind any endpoint that speaks the OpenAI chat completions protocol."""

import json
import os
import re
from typing import Any

import openai
from pydantic import BaseModel, ValidationError

from flythinker.errors import FlyThinkerError
from flythinker.judge.judge import Answer, Closer

ATTEMPTS = 3
"""How often one question is put before nonsense is taken for no answer."""

_REMINDER = (
    "Your last answer was not the one JSON object asked for. Answer with it and nothing else: "
    '{"reason": "one short sentence", "closer": "A"}, with "A", "B" or "tie".'
)
_OPTIONS: dict[str, Any] = {
    "response_format": {"type": "json_object"},
    "temperature": 0,
    "max_tokens": 2048,  # ends a rambling model, leaves a reasoning one room
}
_HOPELESS = (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError)
_WRAPPING = re.compile(r"\s*(?:<think>.*?</think>\s*)?(?:```(?:json)?\s*(.*?)\s*```\s*|(.*))", re.S)


class Endpoint:
    """Puts questions to one model.

    Connection errors, timeouts, 429 and 5xx are tried again by the `openai` client, which waits
    longer each time and as long as `Retry-After` says; an answer that is not the JSON object asked
    for is asked again here.
    """

    def __init__(
        self,
        base_url: str | None = None,
        model: str | None = None,
        api_key_env: str = "OPENAI_API_KEY",
        timeout: float = 120,
        max_retries: int = 4,
    ) -> None:
        """`base_url` None: `OPENAI_BASE_URL`, else OpenAI's own; `timeout` in s, of one try.

        Without a `model` the endpoint must have just one.

        Raises:
            FlyThinkerError: there is no key for OpenAI's own endpoint, or no single model.
        """
        base_url = base_url or os.environ.get("OPENAI_BASE_URL")
        api_key = os.environ.get(api_key_env)
        if not base_url and not api_key:
            raise FlyThinkerError(f"no API key in {api_key_env}: set it, or give --base-url")
        # a server of one's own wants no key, but the client wants one
        connection: dict[str, Any] = {
            "base_url": base_url,
            "api_key": api_key or "none",
            "timeout": timeout,
            "max_retries": max_retries,
        }
        self.base_url = base_url or "https://api.openai.com/v1"
        self.model = model or self._only_model(openai.OpenAI(**connection))
        self._client = openai.AsyncOpenAI(**connection)
        self._options = dict(_OPTIONS)
        self._reached = False

    async def ask(self, prompt: str) -> Answer:
        """The judge's answer to one prompt, or why there is none.

        Raises:
            FlyThinkerError: the endpoint cannot be reached, or refuses the key or the model.
        """
        said = ""
        for attempt in range(ATTEMPTS):
            try:
                said = await self._complete(f"{prompt}\n\n{_REMINDER}" if attempt else prompt)
            except _HOPELESS as error:
                raise self._unusable(error) from None
            except openai.APIConnectionError as error:
                if not self._reached and not isinstance(error, openai.APITimeoutError):
                    raise self._unusable(error) from None
                return Answer(None, f"no answer: {_describe(error)}")
            except openai.OpenAIError as error:
                return Answer(None, f"no answer: {_describe(error)}")
            if answer := parse_answer(said):
                return answer
        return Answer(None, f"nonsense {ATTEMPTS} times, the last: {_shorten(said)}")

    async def _complete(self, content: str) -> str:
        """The text that comes back; options that the endpoint refuses are left out from then on."""
        options = self._options
        while True:
            try:
                completion: Any = await self._client.chat.completions.create(
                    model=self.model, messages=[{"role": "user", "content": content}], **options
                )
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                if not options:
                    raise
                named = {name for name in options if name in error.message} or set(options)
                options = {name: options[name] for name in options if name not in named}
            except json.JSONDecodeError as error:  # of a body that came with status 200
                return error.doc
            else:
                self._options = options
                self._reached = True
                return _text(completion)

    def _only_model(self, client: openai.OpenAI) -> str:
        try:
            names = [model.id for model in client.models.list()]
        except openai.OpenAIError as error:
            raise self._unusable(error) from None
        if len(names) == 1:
            return names[0]
        some = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
        raise FlyThinkerError(f"choose a judge with --model; {self.base_url} has: {some or 'none'}")

    def _unusable(self, error: openai.OpenAIError) -> FlyThinkerError:
        return FlyThinkerError(
            f"{self.base_url}: {_describe(error)}; check --base-url (most end in /v1), --model "
            "and the API key"
        )


def parse_answer(said: str) -> Answer | None:
    """The answer in what a judge said, None unless it is exactly the JSON object asked for.

    A code fence around it and a reasoning model's `<think>…</think>` before it are taken off;
    nothing is looked for in running text.
    """
    match = _WRAPPING.fullmatch(said)
    try:
        parsed = _Said.model_validate_json((match and (match[1] or match[2])) or "")
    except ValidationError:
        return None
    return Answer(parsed.closer, parsed.reason)


class _Said(BaseModel, strict=True):
    reason: str = ""
    closer: Closer


def _text(completion: Any) -> str:
    """The message of a completion; a body without one (the client checks none) as it is."""
    try:
        content = completion.choices[0].message.content
    except (AttributeError, IndexError, TypeError):
        content = None
    return content if isinstance(content, str) else str(completion)


def _describe(error: openai.OpenAIError) -> str:
    cause = f" ({error.__cause__})" if isinstance(error, openai.APIConnectionError) else ""
    return _shorten(f"{error}{cause}")


def _shorten(text: str) -> str:
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= 200 else one_line[:200] + "…"
