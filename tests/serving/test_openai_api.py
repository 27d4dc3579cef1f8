"""The official client against a real server."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest
from serving_app import client, make_engine, serve

from flythinker.data.example import Example
from flythinker.data.prompt import build_prompt
from flythinker.generation.sampling import Sampling
from flythinker.serving.storage.store import Store
from reference import respond

QUERY = "Write about the navy."


@pytest.fixture
def url(personal, tmp_path):
    with serve(make_engine(personal), Store.open(f"sqlite:///{tmp_path}/store.db")) as url:
        yield url


def ask(url: str, query: str = QUERY, **options):
    options = {"temperature": 0, "max_tokens": 20} | options
    messages = [{"role": "user", "content": query}]
    return client(url).chat.completions.create(model="tiny", messages=messages, **options)


def alone(personal, query: str) -> str:
    prompt = build_prompt(Example("u", query, "", ()), personal.tokenizer, personal.prompt)
    return respond(personal, [prompt], Sampling(max_new_tokens=20, temperature=0))[0]


def test_concurrent_texts_are_those_written_alone(url, personal):
    queries = [f"{QUERY} {number}" for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda query: ask(url, query), queries))
    texts = [answer.choices[0].message.content.strip() for answer in answers]
    assert texts == [alone(personal, query) for query in queries]


def test_a_stream_is_the_text_and_ends_with_its_usage(url):
    whole = ask(url)
    chunks = list(ask(url, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert chunks[-1].usage == whole.usage
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens


def test_a_raw_stream_ends_with_done(url):
    body = {"model": "tiny", "prompt": QUERY, "max_tokens": 5, "stream": True}
    answer = httpx.post(f"{url}/v1/completions", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = answer.text.strip().split("\n\n")
    assert events[-1] == "data: [DONE]"
    assert all(json.loads(event.removeprefix("data: "))["choices"] for event in events[:-1])


def test_several_choices_have_seeds_of_their_own(url):
    both = ask(url, temperature=1.2, n=2, seed=5)
    first, second = (choice.message.content for choice in both.choices)
    assert first != second
    assert ask(url, temperature=1.2, seed=6).choices[0].message.content == second


def test_a_stop_string_ends_the_text_before_it(url):
    text = ask(url).choices[0].message.content
    stopped = ask(url, stop=["never there", text[4:7]]).choices[0]
    assert stopped.message.content == text.partition(text[4:7])[0]
    assert stopped.finish_reason == "stop"


def test_logprobs_are_of_the_tokens_written(url):
    choice = ask(url, logprobs=True, top_logprobs=2).choices[0]
    for token in choice.logprobs.content:
        assert len(token.top_logprobs) == 2
        assert token.top_logprobs[0].token == token.token  # greedy
        assert token.logprob == token.top_logprobs[0].logprob <= 0
    completion = client(url).completions.create(
        model="tiny", prompt=QUERY, max_tokens=20, temperature=0, logprobs=1
    )
    shown = completion.choices[0].logprobs
    assert shown.tokens == [token.token for token in choice.logprobs.content]


def test_another_fusion_weight_in_the_same_batch_disturbs_nobody(url, personal):
    with ThreadPoolExecutor(2) as pool:
        other = pool.submit(ask, url, extra_body={"fusion_weight": 0.1})
        own = pool.submit(ask, url)
    assert own.result().choices[0].message.content.strip() == alone(personal, QUERY)
    assert other.result().choices[0].message.content.strip() != alone(personal, QUERY)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"temperature": 3}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"n": 0}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 10_000}, "max_tokens"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"extra_body": {"history_k": -1}}, "history_k"),
        ({"extra_body": {"fusion_weight": 99}}, "fusion_weight"),
        ({"extra_body": {"unheard_of": 1}}, "unheard_of"),
    ],
    ids=str,
)
def test_a_wrong_value_is_refused_by_its_name(url, options, named):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(url, **options)
    assert named in f"{caught.value.param} {caught.value.message}"
    assert caught.value.type == "invalid_request_error"


def test_another_model_is_not_found(url):
    with pytest.raises(openai.NotFoundError) as caught:
        client(url).completions.create(model="huge", prompt="x")
    assert caught.value.code == "model_not_found"
    assert [model.id for model in client(url).models.list()] == ["tiny"]


def test_a_full_queue_says_when_to_come_again(personal, tmp_path):
    engine = make_engine(personal, slots=1, max_queue=0)
    with serve(engine, Store.open(f"sqlite:///{tmp_path}/store.db")) as url:
        stream = ask(url, max_tokens=300, seed=1, temperature=2, stream=True)
        next(iter(stream))
        with pytest.raises(openai.RateLimitError) as caught:
            ask(url)
        assert int(caught.value.response.headers["retry-after"]) >= 1
        stream.close()


def test_a_client_that_leaves_frees_its_slot(personal, tmp_path):
    engine = make_engine(personal, slots=1)
    with serve(engine, Store.open(f"sqlite:///{tmp_path}/store.db")) as url:
        stream = ask(url, max_tokens=300, temperature=2, stream=True)
        next(iter(stream))
        stream.close()
        deadline = time.monotonic() + 5
        while engine.stats().working and time.monotonic() < deadline:
            time.sleep(0.05)
        assert engine.stats().working == 0
        assert ask(url).choices[0].message.content


def test_the_metrics_count_what_was_written(url):
    tokens = ask(url).usage.completion_tokens
    page = httpx.get(f"{url}/metrics").text
    assert f"flythinker_completion_tokens_total {float(tokens)}" in page
    assert 'route="/v1/chat/completions",status="200"' in page
    assert httpx.get(f"{url}/ready").status_code == httpx.get(f"{url}/health").status_code == 200
