"""One adapter a person: whose texts teach it, that it helps them, and that the model is shared."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from flythinker.adapter import merge_adapter
from flythinker.data.example import Document, Example, write_examples
from flythinker.errors import FlyThinkerError
from flythinker.methods.flythinker import FlyThinker
from flythinker.methods.oppu import OPPU, PersonalReasoner, chosen_texts
from flythinker.methods.rag import RAG
from flythinker.training.config import ModelSection
from reference import respond

WORDS = {
    "ann": ["harbour", "gull", "rope", "winter", "grey", "boat", "ice", "lamp"],
    "ben": ["engine", "rail", "signal", "smoke", "whistle", "coal", "track", "bridge"],
    "eva": ["violin", "bow", "string", "concert", "hall", "note", "score", "silence"],
}


def written(user: str, year: int) -> Example:
    """A text of a person who has few words, with one of the year before as its history."""
    draw = random.Random(f"{user}{year}")

    def text() -> str:
        return " ".join(" ".join(draw.choices(WORDS[user], k=6)) + "." for _ in range(4))

    past = Document(text(), "Diary", str(year - 1))
    return Example(user, f"Write about {year}.", text(), (past,), str(year))


OWN = {user: [written(user, year) for year in range(1900, 1920)] for user in WORDS}
LATER = [written(user, year) for user in ("eva", "ann", "eva", "ben") for year in (1930, 1931)]


@pytest.fixture
def person(make_method, tmp_path):
    """`person(OPPU, option=value)`: the method, to go on with one FlyThinker that all share."""
    shared = make_method(FlyThinker, "model.projection=linear", folder="base")
    shared.train()
    base = ModelSection(trained=str(shared.folder / "train" / "model"))
    writings = tmp_path / "own.jsonl"
    write_examples(writings, [example for own in OWN.values() for example in own])

    def make(kind, **options):
        if kind is not RAG:
            options = {"writings": str(writings)} | options
        method = make_method(kind, **options)
        method.config = replace(method.config, model=base)
        return method

    return make


def loss(method, examples=LATER):
    method.train()
    return np.concatenate(method.losses(method.prompts(examples), 2)).mean()


@pytest.mark.parametrize("kind", [OPPU, PersonalReasoner])
def test_own_texts_help_more_than_anothers(person, kind):
    shared = loss(person(RAG))
    own, other, few = (
        loss(person(kind, **options)) for options in ({}, {"of": "another"}, {"texts": 2})
    )
    assert own < min(shared, other, few) - 0.005


def test_the_shared_model_is_as_before_and_every_text_gets_its_persons_adapter(person):
    method = person(OPPU)
    method.train()
    before = {k: v.clone() for k, v in method.personal.model.state_dict().items()}
    together = method.losses(method.prompts(LATER), 4)
    after = method.personal.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    for place, example in enumerate(LATER):
        alone = method.losses(method.prompts([example]), 1)[0]
        np.testing.assert_allclose(alone, together[place], atol=1e-4)


def test_each_text_is_written_with_its_persons_adapter(person, greedy):
    """What a model writes into whose weights that person's changes were merged."""
    method = person(OPPU)
    method.train()
    prompts = method.prompts(LATER)
    texts = method.respond(prompts, greedy)
    for place, example in enumerate(LATER):
        model = person(RAG).personal
        merge_adapter(model.model, method.adapters[example.user_id], "merged")
        assert texts[place] == respond(model, [prompts[place]], greedy)[0]


def test_what_was_learned_is_not_learned_again(person):
    first = person(OPPU, texts=4)
    first.train()
    files = {f: f.stat().st_mtime_ns for f in (first.shared / "adapters").iterdir()}
    assert len(files) == 3  # and no work folder
    other = person(OPPU, texts=4, of="another")
    other.train()
    assert {f: f.stat().st_mtime_ns for f in (first.shared / "adapters").iterdir()} == files
    assert other.personal.training["texts"] == [4, 4, 4]
    edited = person(OPPU, texts=4, edits=2)
    edited.train()
    assert edited.personal.training["texts"] == [6, 6, 6]
    ours, theirs = first.adapters, other.adapters
    assert theirs["ben"].about.user == "ann"
    for name, change in ours["ann"].changes.items():
        assert all(map(torch.equal, change, theirs["ben"].changes[name]))


def test_whose_texts_are_learned():
    own = chosen_texts(OWN, 3, "own")
    assert [example.date for example in own["ann"]] == ["1917", "1918", "1919"]
    assert chosen_texts(OWN, 3, "another")["ann"] == own["eva"]
    old = {"old": [replace(e, user_id="old", date=str(int(e.date) - 99)) for e in OWN["eva"]]}
    near = chosen_texts(OWN | old, 5, "contemporaries")["ann"]
    assert len(near) == 5
    assert {example.user_id for example in near} <= {"ben", "eva"}
    assert near == chosen_texts(OWN | old, 5, "contemporaries")["ann"]


def test_what_cannot_be_learned_is_said(person):
    with pytest.raises(FlyThinkerError, match=r"options\.writings: name the example file"):
        person(OPPU, writings="").train()
    method = person(OPPU, texts=2)
    with pytest.raises(FlyThinkerError, match=r"own\.jsonl: no text of zoe to learn from"):
        method.prompts([replace(LATER[0], user_id="zoe")])
    with pytest.raises(FlyThinkerError, match="takes texts of two persons"):
        chosen_texts({"ann": OWN["ann"]}, 3, "another")
