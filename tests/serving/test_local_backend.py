"""One thread writes for many clients, and outlives what goes wrong."""

import asyncio

import pytest
from serving_app import make_engine

from flythinker.data.prompt import build_prompt
from flythinker.generation.backends.errors import EngineClosed, EngineFailed
from flythinker.generation.backends.protocol import Task
from flythinker.generation.sampling import Sampling
from reference import respond

GREEDY = Sampling(max_new_tokens=20, temperature=0)
LONG = Sampling(max_new_tokens=250, min_new_tokens=250, seed=1)


@pytest.fixture
def prompts(personal, examples):
    return [build_prompt(e, personal.tokenizer, personal.prompt) for e in examples[:5]]


async def text_of(pieces) -> str:
    return "".join([piece.text async for piece in pieces]).strip()


def test_a_request_of_several_texts_gets_them_all(personal, prompts):
    async def run() -> list[str]:
        engine = make_engine(personal)
        texts = [""] * len(prompts)
        async for piece in engine.generate([Task(prompt, GREEDY, "acme") for prompt in prompts]):
            texts[piece.index] += piece.text
        await engine.close(1)
        return [text.strip() for text in texts]

    expected = [respond(personal, [prompt], GREEDY)[0] for prompt in prompts]
    assert asyncio.run(run()) == expected


def test_a_failing_step_fails_its_texts_and_the_engine_goes_on(personal, prompts):
    async def run() -> None:
        engine = make_engine(personal, slots=1)
        writer, step = engine._writer, engine._writer.step
        calls = 0

        def failing():
            nonlocal calls
            calls += 1
            if calls == 3:
                raise RuntimeError("no memory")
            return step()

        writer.step = failing
        first, waiting = (engine.generate([Task(prompt, GREEDY, "acme")]) for prompt in prompts[:2])
        with pytest.raises(EngineFailed):
            await text_of(first)
        assert await text_of(waiting) == respond(personal, [prompts[1]], GREEDY)[0]
        assert engine.ready
        await engine.close(1)

    asyncio.run(run())


def test_closing_lets_texts_finish_and_takes_no_new_ones(personal, prompts):
    async def run() -> None:
        engine = make_engine(personal)
        pieces = engine.generate([Task(prompts[0], GREEDY, "acme")])
        closing = asyncio.create_task(engine.close(30))
        await asyncio.sleep(0)
        assert not engine.ready
        with pytest.raises(EngineClosed):
            engine.generate([Task(prompts[1], GREEDY, "acme")])
        assert await text_of(pieces) == respond(personal, [prompts[0]], GREEDY)[0]
        await closing

    asyncio.run(run())


def test_what_does_not_finish_in_time_ends_with_a_clear_error(personal, prompts):
    async def run() -> None:
        engine = make_engine(personal)
        pieces = engine.generate([Task(prompts[0], LONG, "acme")])
        await anext(pieces)
        await engine.close(0)
        with pytest.raises(EngineClosed, match="shutting down"):
            await text_of(pieces)

    asyncio.run(run())


def test_cancelled_texts_free_their_places_also_in_the_queue(personal, prompts):
    async def run() -> None:
        engine = make_engine(personal, slots=1)
        running, waiting = (engine.generate([Task(prompt, LONG, "acme")]) for prompt in prompts[:2])
        await anext(running)
        running.cancel()
        waiting.cancel()
        assert await text_of(waiting) == ""
        await engine.close(10)
        assert engine.stats().working == engine.stats().waiting == 0

    asyncio.run(run())
