import pytest

from flythinker.data.example import Document
from flythinker.data.occasions import examples_by_occasion
from flythinker.data.passages import (
    Passage,
    cut_passages,
    is_bullets,
    temporal_split,
    topic_words,
)
from flythinker.data.sentences import split_sentences


def prose(words: int, tag: str, sentence_words: int = 10) -> str:
    """Sentences of distinct words."""
    names = [f"{tag}x{number}" for number in range(words)]
    groups = [names[i : i + sentence_words] for i in range(0, words, sentence_words)]
    return " ".join(" ".join(["The", *group[1:]]) + "." for group in groups)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("It rained. It stopped!", ["It rained.", "It stopped!"]),
        ('He said "no." Then he left.', ['He said "no."', "Then he left."]),
        ("Mr. Fox met Gen. Lee of the U.S. Army. Why?", None),
        ("Vol. II. It cost 3.50 dollars. Good.", ["Vol. II. It cost 3.50 dollars.", "Good."]),
        ("A title\n\nA text.", ["A title", "A text."]),
        ("雨が降った。止んだ。", ["雨が降った。", "止んだ。"]),
        ("no end", ["no end"]),
        ("", []),
    ],
)
def test_split_sentences(text, sentences):
    expected = sentences or (["Mr. Fox met Gen. Lee of the U.S. Army.", "Why?"] if text else [])
    assert split_sentences(text) == expected


def test_passages_end_with_paragraphs_and_keep_their_words():
    paragraphs = [prose(140, f"p{index}") for index in range(5)]

    passages = cut_passages("\n\n".join(paragraphs))

    assert [p.text for p in passages] == [
        "\n\n".join(paragraphs[:3]),
        "\n\n".join(paragraphs[3:]),
    ]


def test_a_long_paragraph_is_cut_at_sentence_ends():
    passages = cut_passages(prose(1000, "a"))

    assert [len(p.text.split()) for p in passages] == [420, 420, 160]
    assert all(p.text.endswith(".") for p in passages)


def test_a_sentence_longer_than_a_passage_is_dropped():
    text = prose(200, "a") + " " + prose(500, "b", sentence_words=500) + " " + prose(200, "c")

    lengths = [len(p.text.split()) for p in cut_passages(text)]

    assert lengths == [200, 200]


def test_a_heading_starts_a_passage_and_belongs_to_it():
    text = (
        f"{prose(160, 'a')}\n\n## The Navy\n\n{prose(160, 'b')}\n\nFINANCES.\n\n{prose(160, 'c')}"
    )

    assert [p.heading for p in cut_passages(text)] == ["", "The Navy", "FINANCES"]


def test_a_short_text_is_one_passage_and_an_empty_one_none():
    assert cut_passages("It rained.\n") == [Passage("It rained.")]
    assert cut_passages(" \n ") == []


def test_bullets_are_told_from_prose():
    assert is_bullets(Passage("- one\n\n- two\n\n- three\n\nAnd so."))
    assert not is_bullets(Passage("It rained.\n\nIt stopped.\n\n- one"))


def test_topic_words_are_frequent_here_and_rare_elsewhere():
    texts = ["Treaty treaty Panama with nation", "nation silver silver currency", "nation rain"]

    topics = topic_words(texts)

    assert topics[0] == ["treaty", "panama", "nation"]  # no stop words; the common word last
    assert topics[1][0] == "silver"


def test_histories_are_strictly_earlier_and_same_day_texts_are_apart():
    documents = [
        Document(prose(200, "b"), "B", "2024-01-02"),
        Document(prose(200, "a"), "A", "2024-01-01"),
        Document(prose(200, "c"), "C", "2024-01-02"),
    ]

    [[b, c]] = examples_by_occasion({"ada": documents})["ada"]

    assert [d.title for d in b.history] == [d.title for d in c.history] == ["A"]
    assert b.query.startswith('Write the next part of "B" (2024-01-02), about ')
    beginning = b.query.partition("beginning with: ")[2]
    assert f"{beginning} {b.target}" == prose(200, "b")


def test_an_occasion_without_examples_is_history_only():
    documents = [
        Document(prose(200, "a"), "A", "2024-01-01"),
        Document("Too short to ask for.", "B", "2024-01-02"),
        Document(prose(200, "c"), "C", "2024-01-03"),
    ]

    [[example]] = examples_by_occasion({"ada": documents})["ada"]

    assert [d.title for d in example.history] == ["A", "B"]


def test_near_duplicates_are_dropped():
    again = prose(200, "a").replace("ax5 ", "other ")
    documents = [
        Document(prose(200, "a"), "A", "2024-01-01"),
        Document(again, "A again", "2024-01-02"),
        Document(prose(200, "b"), "B", "2024-01-03"),
    ]

    occasions = examples_by_occasion({"ada": documents})["ada"]

    assert [[e.date for e in examples] for examples in occasions] == [["2024-01-03"]]


def test_the_first_occasion_is_kept_on_request_with_an_empty_history():
    documents = [Document(prose(200, "a"), "A", "2024-01-01")]

    assert examples_by_occasion({"ada": documents}) == {"ada": []}
    [[example]] = examples_by_occasion({"ada": documents}, keep_first=True)["ada"]
    assert example.history == ()


def test_temporal_split_holds_out_the_last_occasions():
    def dates(n: int) -> dict[str, list[str]]:
        documents = [
            Document(prose(200, f"d{day}"), f"T{day}", f"2024-01-{day:02}")
            for day in range(1, n + 2)
        ]
        splits = temporal_split(examples_by_occasion({"ada": documents}))
        return {name: [e.date[-2:] for e in examples] for name, examples in splits.items()}

    assert dates(2) == {"train": ["02", "03"], "val": [], "test": []}
    assert dates(4) == {"train": ["02", "03"], "val": ["04"], "test": ["05"]}
    assert [len(part) for part in dates(12).values()] == [9, 1, 2]
