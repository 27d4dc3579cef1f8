from dataclasses import replace

import pytest

from flythinker.data.example import Document, Example, sample_examples
from flythinker.data.sotu import build_sotu
from flythinker.evaluation.attribution import (
    TEXTS_PER_USER,
    AttributionProbe,
    attribution,
    past_texts,
)

WRITERS = ("Abraham Lincoln", "Franklin D. Roosevelt", "George W. Bush", "Thomas Jefferson")


@pytest.fixture(scope="module")
def addresses() -> list[Example]:
    """40 real held-out texts by four presidents, with all their earlier ones."""
    test = build_sotu("temporal")["test"]
    return sample_examples([e for e in test if e.user_id in WRITERS], 40)


@pytest.fixture(scope="module")
def judged(addresses):
    copied = [e.history[0].text for e in addresses]
    constant = ["The cat sat on the mat and looked at the dog."] * len(addresses)
    nothing = [""] * len(addresses)
    return attribution({"copies": copied, "constant": constant, "nothing": nothing}, addresses)


def test_real_texts_are_recognized_far_above_chance(judged):
    assert judged["users"] == len(WRITERS)
    assert judged["real"]["accuracy"]["low"] > judged["chance"] + 0.2
    assert judged["real"]["rank"]["value"] < 1.5


def test_a_users_own_words_beat_a_text_that_is_always_the_same(judged):
    copies, constant = judged["methods"]["copies"], judged["methods"]["constant"]
    assert copies["accuracy"]["low"] > constant["accuracy"]["high"]
    assert copies["probability"]["low"] > constant["probability"]["high"]


def test_empty_texts_are_nobodys(judged):
    scores = judged["methods"]["nothing"]
    values = {name: score["value"] for name, score in scores.items()}
    assert values == {"accuracy": 0, "probability": 0, "rank": len(WRITERS)}


def test_another_users_text_is_that_users(addresses):
    probe = AttributionProbe(past_texts(addresses))
    texts, theirs = zip(*((e.target, e.user_id) for e in addresses), strict=True)
    another = [WRITERS[(WRITERS.index(user) + 1) % len(WRITERS)] for user in theirs]
    right, wrong = (probe.scores(texts, users)["accuracy"].mean() for users in (theirs, another))
    assert right > wrong + 0.3


def test_it_is_never_trained_on_a_target():
    target = "A secret target,\nof two lines."
    leaks = (Document(f"Before. {target.replace(chr(10), ' ')} After."), Document(target))
    own = [Example("a", "q", target, (*leaks, Document("An honest text."))) for _ in range(2)]
    other = Example("b", "q", "Another target.", (Document("A secret target, of two lines."),))
    assert past_texts([*own, other]) == {"a": ["An honest text."]}


def test_long_past_texts_are_cut_to_about_the_length_of_a_target():
    past = " ".join(f"word{i}" for i in range(45))
    example = Example("a", "q", "A target of just ten words, no more than that.", (Document(past),))
    passages = past_texts([example])["a"]
    assert sorted(len(passage.split()) for passage in passages) == [11, 11, 11, 12]
    assert {word for passage in passages for word in passage.split()} == set(past.split())


def test_users_with_very_many_past_texts_do_not_outweigh_the_others():
    history = tuple(Document(f"Text {i}.") for i in range(TEXTS_PER_USER + 50))
    example = Example("a", "q", "A target.", history)
    texts = past_texts([example, example])["a"]
    assert len(texts) == len(set(texts)) == TEXTS_PER_USER


def test_the_users_own_texts_are_judged_by_no_more_words_than_were_written(addresses):
    beginnings = [" ".join(e.target.split()[:30]) for e in addresses]
    judged = attribution({"beginnings": beginnings, "less": ["word"] * 40}, addresses)
    assert judged["real"] == judged["methods"]["beginnings"]


def test_a_text_that_says_nothing_about_its_author_is_not_recognized():
    probe = AttributionProbe({"a": ["apples and pears"], "b": ["snow on hills"]})
    scores = probe.scores(["zzz", "snow", "snow"], ["a", "b", "someone else"])
    assert scores["accuracy"].tolist() == [0, 1, 0]
    assert scores["rank"].tolist() == [2, 1, 2]


def test_one_user_cannot_be_told_from_nobody():
    example = Example("a", "q", "Some target.", (Document("An earlier text."),))
    assert attribution({"x": ["text"]}, [example]) is None
    assert attribution({"x": ["text"]}, [replace(example, history=())]) is None


def test_the_same_texts_are_judged_the_same(addresses, judged):
    copied = [e.history[0].text for e in addresses]
    again = attribution({"copies": copied}, addresses)
    assert again["methods"]["copies"] == judged["methods"]["copies"]
