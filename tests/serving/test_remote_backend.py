"""A server whose engine is elsewhere writes what that engine writes, and says when it is gone."""

import asyncio

import httpx
import openai
import pytest
from serving_app import client, make_engine, serve

from flythinker.data.prompt import Prompt
from flythinker.generation.backends.errors import EngineBusy
from flythinker.generation.backends.protocol import Task
from flythinker.generation.backends.remote import RemoteEngine
from flythinker.generation.sampling import Sampling
from flythinker.serving.storage.store import Store

NOWHERE = "http://127.0.0.1:1/v1"


def make_remote(personal, url: str, max_texts: int = 8) -> RemoteEngine:
    """Our own server speaks the protocol of vLLM that the engine needs, `token_ids` included."""
    length = personal.model.config.get_text_config().max_position_embeddings
    endpoint = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0)
    return RemoteEngine(endpoint, "tiny", personal.tokenizer, personal.prompt, length, max_texts)


@pytest.fixture
def stores(tmp_path):
    opened = [Store.open(f"sqlite:///{tmp_path}/{name}.db") for name in ("near", "far")]
    yield opened
    for store in opened:
        store.close()


def ask(url: str, **options):
    messages = [{"role": "user", "content": "Write about the navy."}]
    options = {"temperature": 0, "max_tokens": 20} | options
    return client(url).chat.completions.create(model="tiny", messages=messages, **options)


def test_texts_and_log_probabilities_come_through(personal, stores):
    near, far = stores
    with serve(make_engine(personal), far) as engine_url:
        own = ask(engine_url, logprobs=True, top_logprobs=2, n=2)
        with serve(make_remote(personal, f"{engine_url}/v1"), near) as url:
            remote = ask(url, logprobs=True, top_logprobs=2, n=2)
            streamed = "".join(
                chunk.choices[0].delta.content or "" for chunk in ask(url, stream=True)
            )
    assert [choice.message.content for choice in remote.choices] == [
        choice.message.content for choice in own.choices
    ]
    assert streamed == own.choices[0].message.content
    assert remote.usage == own.usage
    logprobs = [[t.logprob for t in one.choices[0].logprobs.content] for one in (remote, own)]
    assert logprobs[0] == pytest.approx(logprobs[1], abs=1e-4)


def test_a_users_texts_are_in_the_prompt_that_is_sent(personal, stores):
    near, far = stores
    with (
        serve(make_engine(personal), far) as engine_url,
        serve(make_remote(personal, f"{engine_url}/v1"), near) as url,
    ):
        body = {"documents": [{"text": "We went to Zanzibar."}]}
        httpx.post(f"{url}/v1/users/ann/documents", json=body)
        assert ask(url, user="ann").usage.prompt_tokens > ask(url).usage.prompt_tokens + 10


def test_an_engine_that_is_gone_is_a_503(personal, stores):
    with serve(make_remote(personal, NOWHERE), stores[0]) as url:
        with pytest.raises(openai.InternalServerError) as caught:
            ask(url)
        assert caught.value.status_code == 503
        assert caught.value.response.headers["retry-after"]


def test_a_lambda_of_ones_own_is_refused(personal, stores):
    with serve(make_remote(personal, NOWHERE), stores[0]) as url:
        with pytest.raises(openai.BadRequestError) as caught:
            ask(url, extra_body={"fusion_weight": 0.1})
        assert caught.value.param == "fusion_weight"


def test_it_takes_no_more_than_it_was_told(personal):
    async def run() -> None:
        engine = make_remote(personal, NOWHERE, max_texts=1)
        task = Task(Prompt([5], [], ()), Sampling(), "acme")
        first = engine.generate([task])
        with pytest.raises(EngineBusy):
            engine.generate([task])
        first.cancel()
        await engine.close(1)

    asyncio.run(run())
