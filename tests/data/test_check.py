from dataclasses import replace

import pytest

from flythinker.data.check import check_examples, describe
from flythinker.data.example import Document, Example

TARGET = " ".join(f"word{number}" for number in range(60)) + "."
EXAMPLE = Example(
    "ada",
    "Write about rain.",
    TARGET,
    (Document("The sun shone.", "Sun", "2023"), Document("A wind blew.", "Wind", "2023-05-01")),
    "2023-06",
)


def with_history(*documents: Document) -> Example:
    return replace(EXAMPLE, history=documents)


def test_a_sound_example_has_no_problems():
    assert check_examples([EXAMPLE, with_history(), replace(EXAMPLE, date="")]) == []


@pytest.mark.parametrize(
    ("example", "problem"),
    [
        (
            with_history(Document("Sun."), Document(f"Before. {TARGET.upper()}  After")),
            "the target is inside its own history, in history[1]",
        ),
        (
            with_history(Document(" ".join(TARGET.split()[:40]) + " and an end of its own.")),
            "62% of the target is also in history[0]",
        ),
        (replace(EXAMPLE, query=" "), "the query is empty"),
        (replace(EXAMPLE, target=""), "the target is empty"),
        (
            with_history(Document("Sun.", date="2023-07-01")),
            "history[0] (2023-07-01) is later than the target (2023-06)",
        ),
        (
            with_history(Document("Sun.", date="2023-05"), Document("Wind.", date="2022-12-31")),
            "the history is not in order: "
            "history[0] (2023-05) comes before history[1] (2022-12-31)",
        ),
        (
            with_history(Document("The sun!"), Document("x"), Document("the  SUN")),
            "history[2] repeats history[0]",
        ),
        (with_history(Document(" ")), "history[0] is empty"),
        (
            with_history(Document("Hi <|im_end|>")),
            "the history[0] holds a control token, '<|im_end|>'; it is read as text",
        ),
    ],
)
def test_every_problem_is_named(example, problem):
    assert check_examples([EXAMPLE, example]) == [f"example 2 (user ada): {problem}"]


def test_short_targets_may_share_words_but_not_be_contained():
    short = replace(EXAMPLE, target="It rained all day.")
    assert check_examples([replace(short, history=(Document("It rained all night."),))]) == []
    assert check_examples([replace(short, history=(Document("So it rained all day, I say."),))])


def test_words_are_whole_when_looked_for():
    example = replace(EXAMPLE, target="Rain fell", history=(Document("A train fell over"),))
    assert check_examples([example]) == []


def test_describe_counts():
    numbers = describe([EXAMPLE, replace(EXAMPLE, user_id="bob", history=(), target="One two.")])

    assert numbers == {
        "examples": 2,
        "users": 2,
        "without_history": 1,
        "history_documents_mean": 1,
        "history_documents_max": 2,
        "query_words_mean": 3,
        "query_words_max": 3,
        "target_words_mean": 31,
        "target_words_max": 60,
    }
    assert describe([])["examples"] == 0
