"""Persons' adapters come to vLLM when they are needed, and leave it and the disk again."""

import asyncio
import json

import httpx
import openai
import pytest
import torch

from flythinker.adapter import About, Adapter
from flythinker.generation.backends import vllm_adapters
from flythinker.generation.backends.vllm_adapters import VllmAdapters


class Endpoint:
    """What vLLM does when adapters come and go."""

    def __init__(self, folder):
        self.folder = folder
        self.there = set()
        self.loads = 0
        self.broken = False
        self.slow = asyncio.Event()
        self.slow.set()

    async def __call__(self, request):
        body = json.loads(request.content)
        await self.slow.wait()
        if request.url.path == "/v1/load_lora_adapter":
            self.loads += 1
            if self.broken:
                return httpx.Response(500)
            settings = json.loads(
                (self.folder / body["lora_name"] / "adapter_config.json").read_text()
            )
            assert settings["peft_type"] == "LORA"
            assert body["lora_name"] not in self.there
            self.there.add(body["lora_name"])
        else:
            assert request.url.path == "/v1/unload_lora_adapter"
            self.there.remove(body["lora_name"])
        return httpx.Response(200, text="Success")

    @property
    def folders(self):
        return {path.name for path in self.folder.iterdir()}


def adapter_of(user, rank=2, base="base"):
    about = About(user, "reasoner", base, 2.0, *(0,) * 9, made="")
    seed = torch.Generator().manual_seed(sum(user.encode()))
    a, b = (torch.randn(shape, generator=seed).bfloat16() for shape in ((rank, 8), (8, rank)))
    return Adapter(about, {"reasoner.layer": (a, b)})


@pytest.fixture
def run(tmp_path):
    """Runs a test's coroutine with an endpoint and its adapters."""

    def run(body):
        async def whole():
            endpoint = Endpoint(tmp_path)
            http = httpx.AsyncClient(transport=httpx.MockTransport(endpoint))
            async with openai.AsyncOpenAI(
                base_url="http://vllm/v1", api_key="none", max_retries=0, http_client=http
            ) as client:
                await body(endpoint, VllmAdapters(client, "base", tmp_path))

        asyncio.run(whole())

    return run


async def settled(endpoint, *names):
    """Wait until just these adapters are there, in vLLM and on the disk."""
    async with asyncio.timeout(10):
        while endpoint.there != set(names) or endpoint.folders != set(names):
            await asyncio.sleep(0.01)


def test_texts_of_one_person_share_what_is_loaded(run):
    async def body(endpoint, adapters):
        ann, ben = adapter_of("ann"), adapter_of("ben")
        async with adapters.loaded(ann) as one, adapters.loaded(ann) as two:
            assert one == two
            async with adapters.loaded(ben) as other:
                assert endpoint.there == {one, other}
        async with adapters.loaded(ann) as again:
            assert again == one
        assert endpoint.loads == 2

    run(body)


def test_the_least_recently_needed_leaves(run, monkeypatch):
    monkeypatch.setattr(vllm_adapters, "ROOM", 2)

    async def body(endpoint, adapters):
        async with adapters.loaded(adapter_of("ann")) as ann:
            for user in ("ben", "cleo", "dan"):
                async with adapters.loaded(adapter_of(user)) as last:
                    pass
            # ann was needed before all others, but is being written with
            await settled(endpoint, ann, last)
        async with adapters.loaded(adapter_of("ben")) as newer:
            pass
        await settled(endpoint, last, newer)

    run(body)


def test_forgotten_while_nothing_is_written(run):
    async def body(endpoint, adapters):
        async with adapters.loaded(adapter_of("ann")), adapters.loaded(adapter_of("ben")) as ben:
            pass
        await asyncio.to_thread(adapters.forget, "ann")
        await settled(endpoint, ben)

    run(body)


def test_forgotten_while_a_text_is_written(run):
    async def body(endpoint, adapters):
        ann = adapter_of("ann")
        async with adapters.loaded(ann) as old:
            adapters.forget("ann")
            await asyncio.sleep(0)
            async with adapters.loaded(ann) as new:  # the same one, learned again
                assert new != old
            assert old in endpoint.there
        await settled(endpoint, new)

    run(body)


def test_one_that_cannot_be_loaded_is_tried_again(run):
    async def body(endpoint, adapters):
        endpoint.broken = True
        with pytest.raises(openai.InternalServerError):
            async with adapters.loaded(adapter_of("ann")):
                pass
        await settled(endpoint)
        endpoint.broken = False
        async with adapters.loaded(adapter_of("ann")) as name:
            assert endpoint.there == {name}

    run(body)


def test_a_text_that_is_given_up_takes_nothing_from_another(run):
    async def body(endpoint, adapters):
        names = []

        async def write():
            async with adapters.loaded(adapter_of("ann")) as name:
                names.append(name)

        endpoint.slow.clear()
        first, second = (asyncio.create_task(write()) for _ in range(2))
        await asyncio.sleep(0.05)
        first.cancel()
        await asyncio.sleep(0.05)
        endpoint.slow.set()
        await second
        assert endpoint.loads == 1
        await settled(endpoint, *names)

    run(body)


def test_what_it_takes(run):
    async def body(_, adapters):
        assert adapters.takes(adapter_of("ann"))
        assert not adapters.takes(adapter_of("ann", base="another model"))
        assert not adapters.takes(adapter_of("ann", rank=9))

    run(body)
