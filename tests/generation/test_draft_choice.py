"""The plan that gives the most tokens a second is used, and the others are tried again."""

from collections import Counter

from flythinker.generation.drafts import DraftChoice, DraftPlan

NONE, LOOKUP, REASONER = PLANS = [
    DraftPlan("none", 0),
    DraftPlan("lookup", 8),
    DraftPlan("reasoner", 1),
]


def steps(choice, costs, count=200, texts=1):
    """The plans of `count` steps, where a plan gives (tokens, seconds)."""
    used = Counter()
    for _ in range(count):
        plan = choice.choose(texts, list(costs))
        used[plan] += 1
        choice.note(texts, plan, *costs[plan])
    return used


def test_the_most_tokens_a_second_win_not_the_most_tokens():
    used = steps(DraftChoice(), {NONE: (1, 1.0), LOOKUP: (2, 1.2), REASONER: (3, 2.5)})
    assert used[LOOKUP] > 180
    assert min(used.values()) >= 4


def test_what_no_longer_pays_is_left():
    choice = DraftChoice()
    steps(choice, {NONE: (1, 1.0), LOOKUP: (4, 1.2)})
    assert steps(choice, {NONE: (1, 1.0), LOOKUP: (1, 1.2)})[NONE] > 120


def test_what_begins_to_pay_is_found():
    choice = DraftChoice()
    steps(choice, {NONE: (1, 1.0), REASONER: (1, 1.5)})
    assert steps(choice, {NONE: (1, 1.0), REASONER: (2, 1.0)}, count=1000)[REASONER] > 500


def test_each_number_of_texts_has_its_own_choice():
    choice = DraftChoice()
    steps(choice, {NONE: (1, 1.0), LOOKUP: (4, 1.2)}, texts=1)
    steps(choice, {NONE: (8, 1.0), LOOKUP: (9, 1.5)}, texts=8)
    assert choice.choose(1, PLANS[:2]) == LOOKUP
    assert choice.choose(8, PLANS[:2]) == NONE


def test_only_plans_that_are_open_are_chosen():
    choice = DraftChoice()
    steps(choice, {NONE: (1, 1.0), LOOKUP: (4, 1.0)})
    assert choice.choose(1, [NONE]) == NONE
