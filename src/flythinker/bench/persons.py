"""What persons' adapters cost a server: tokens a second of its clients with and without."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import cycle
from typing import Any

import torch

from flythinker.adapter import About, Adapter, Part, fingerprint, layers_to_adapt
from flythinker.bench.asking import (
    DOCUMENTS,
    LENGTHS,
    Ask,
    Tally,
    add_documents,
    answer,
    client_of,
)
from flythinker.bench.rounds import Rounds, alternate, ratio
from flythinker.bench.served import Served, ServeSetting, server_of
from flythinker.data.example import Document, Example
from flythinker.errors import FlyThinkerError
from flythinker.model import FlyThinkerForCausalLM
from flythinker.model_folder import load_model_folder
from flythinker.serving.settings import DEFAULT_TENANT
from flythinker.serving.storage.store import Store

ROUNDS = 5
RANK = 8
PREFIX_MIB = 4096  # for all prompts
SMALL = 1e-6
"""Of the numbers of an adapter: texts stay what they are without, and so does what is compared."""


def persons_figures(setting: ServeSetting, examples: Sequence[Example]) -> dict[str, Any]:
    """Every client writes a text, in alternating rounds with and without adapters of some of them.

    Those who have one have a twin of the same documents and queries who has none. All texts are of
    a given length, and the server has read all prompts before, in the round that does not count.
    Returns the ratio of tokens a second, with over without, by the clock and by what the server
    took of the processor; both by round; and how many of the texts are the same in both.

    Raises:
        FlyThinkerError: the model has no Reasoner that adapters could change.
    """
    adapters = _adapters(setting)
    texts: dict[str, list[str]] = {}
    by_processor: Rounds = {"none": [], "adapters": []}

    def writing(name: str, asks: Sequence[Ask]) -> Callable[[], float]:
        def tokens_a_second() -> float:
            tally, begun, used = Tally(), time.perf_counter(), served.seconds()
            texts[name] = asyncio.run(_write(served.url, asks, tally))
            by_processor[name].append(tally.tokens / (served.seconds() - used))
            return tally.tokens / (time.perf_counter() - begun)

        return tokens_a_second

    with server_of(replace(setting, prefix_mib=PREFIX_MIB)) as served:
        asks = _asks(setting, examples)
        asyncio.run(_add_users(served.url, asks, examples))
        _keep(served, asks, adapters)
        speeds = alternate({name: writing(name, each) for name, each in asks.items()}, ROUNDS)
    pairs = zip(texts["none"], texts["adapters"], strict=True)
    return {
        "ratio": ratio(speeds["adapters"], speeds["none"]),
        "processor_ratio": ratio(by_processor["adapters"][1:], by_processor["none"][1:]),
        "tokens_per_second": speeds,
        "same_texts": sum(one == other for one, other in pairs),
    }


def random_adapter(model: FlyThinkerForCausalLM, part: Part, rank: int, seed: int) -> Adapter:
    """An adapter with changes of every layer, which say nothing: what they cost is the same."""
    draw = torch.Generator().manual_seed(seed)
    changes = {}
    for name in layers_to_adapt(model, part):
        out, inputs = model.get_submodule(name).weight.shape
        a = torch.randn(rank, inputs, generator=draw)
        b = SMALL * torch.randn(out, rank, generator=draw)
        changes[name] = (a.bfloat16(), b.bfloat16())
    base = fingerprint(model, part)
    return Adapter(About("a person", part, base, 2.0, *(0,) * 9, made=""), changes)


def _adapters(setting: ServeSetting) -> list[Adapter]:
    """One of each person."""
    model = load_model_folder(setting.model).model
    if model.reasoner is None:
        raise FlyThinkerError("this model has no Reasoner that persons could change")
    return [random_adapter(model, "reasoner", RANK, seed) for seed in range(setting.persons)]


def _asks(setting: ServeSetting, examples: Sequence[Example]) -> dict[str, list[Ask]]:
    """One text of each client, by who has an adapter: nobody, or some who were drawn."""
    some = random.Random(setting.seed).sample(range(setting.clients), setting.persons)
    clients = zip(range(setting.clients), cycle(examples), cycle(LENGTHS))
    none = [
        Ask(f"person-{number}", example.query, length, ignore_eos=True)
        for number, example, length in clients
    ]
    twins = [
        replace(ask, user=f"adapted-{number}") if number in some else ask
        for number, ask in enumerate(none)
    ]
    return {"none": none, "adapters": twins}


async def _add_users(url: str, asks: dict[str, list[Ask]], examples: Sequence[Example]) -> None:
    async with client_of(url) as client:
        for each in asks.values():
            for ask, example in zip(each, cycle(examples)):
                documents = example.history[-DOCUMENTS:] or [Document(example.query)]
                await add_documents(client, str(ask.user), documents)


def _keep(served: Served, asks: dict[str, list[Ask]], adapters: Sequence[Adapter]) -> None:
    """Give each of the twins an adapter, in the way in which the server keeps what it learned."""
    store = Store.open(served.database)
    twins = {str(ask.user) for ask in asks["adapters"]} - {ask.user for ask in asks["none"]}
    for user, adapter in zip(sorted(twins), adapters, strict=True):
        material = store.material(DEFAULT_TENANT, user)
        assert material is not None
        assert store.keep_adapter(material, adapter)
    store.close()


async def _write(url: str, asks: Sequence[Ask], tally: Tally) -> list[str]:
    async with client_of(url) as client:
        return await asyncio.gather(*(answer(client, ask, tally) for ask in asks))
