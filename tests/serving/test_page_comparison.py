"""Two texts side by side are written by the service of the API, with its checks."""

import asyncio
from itertools import pairwise

import pytest
from serving_app import SETTINGS, make_engine

from flythinker.data.example import Document
from flythinker.serving.app import create_app
from flythinker.serving.errors import BadRequest
from flythinker.serving.page.comparison import Comparisons

WANTED = {
    "query": "Write about the navy.",
    "baseline": "without thoughts",
    "user": "Ada",
    "fusion_weight": 0.5,
    "temperature": 0.0,
    "seed": 0,
}


@pytest.fixture
def comparisons(engine, sqlite) -> Comparisons:
    return Comparisons(create_app(SETTINGS, sqlite, engine).state.server)


def read(comparisons, tenant, **changes) -> list:
    """All that `write` tells."""

    async def run():
        return [now async for now in comparisons.write(tenant, "session", **WANTED | changes)]

    return asyncio.run(run())


def test_only_the_tenants_own_texts_are_used(comparisons, sqlite):
    sqlite.add("a", "Ada", [Document("The navy was small.")], 10)
    assert read(comparisons, "b")[-1].used["documents"] == []
    assert read(comparisons, "a")[-1].used["documents"] != []


def test_what_is_asked_for_is_checked_as_by_the_api(comparisons):
    for change, named in (
        ({"query": " "}, "what to write"),
        ({"query": "a\0b"}, "messages"),
        ({"user": "a/b"}, "user"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"fusion_weight": 99.0}, "fusion_weight"),
        ({"query": "navy " * 3000}, "context"),
    ):
        with pytest.raises(BadRequest, match=named):
            read(comparisons, "a", **change)


def test_effects_come_with_the_personal_text(comparisons):
    told = read(comparisons, "a")
    assert told[0].personal["state"] == "waiting"
    assert told[-1].personal["state"] == told[-1].baseline["state"] == "done"
    assert all(kl is not None and words for _, kl, words in told[-1].personal["tokens"])
    assert all(kl is None for _, kl, _ in told[-1].baseline["tokens"])
    tokens = [now.personal["tokens"] for now in told]
    for before, after in pairwise(tokens):
        assert after[: len(before)] == before
    none = read(comparisons, "a", fusion_weight=0.0)[-1]
    columns = [column["tokens"] for column in (none.personal, none.baseline)]
    personal, other = ("".join(text for text, _, _ in tokens) for tokens in columns)
    assert personal == other


def test_an_engine_of_one_slot_writes_without_effects(personal, sqlite):
    comparisons = Comparisons(
        create_app(SETTINGS, sqlite, make_engine(personal, slots=1)).state.server
    )
    last = read(comparisons, "a")[-1]
    assert last.personal["state"] == last.baseline["state"] == "done"
    assert all(kl is None for _, kl, _ in last.personal["tokens"])
