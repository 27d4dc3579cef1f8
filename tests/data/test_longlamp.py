import json

import pyarrow
import pyarrow.parquet
import pytest

from flythinker.data.example import Document, Example
from flythinker.data.longlamp import build_longlamp
from flythinker.errors import FlyThinkerError

ABSTRACTS = {
    "name": "Ada",
    "input": "Write an abstract for the title: Engines",
    "output": "We present engines.",
    "profile": [
        {"id": "2", "title": "Later", "abstract": "We are late.", "year": 2020},
        {"id": "1", "title": "Early", "abstract": "We are early.", "year": 2018},
    ],
}
REVIEWS = {
    "reviewerId": "R1",
    "input": "Write a review of a kettle.",
    "output": "It boils.",
    "profile": [
        {"overall": "5.0", "summary": "Good", "description": "A pan.", "reviewText": "It fries."},
        {"overall": "1.0", "summary": "Bad", "description": "A cup.", "reviewText": "It leaks."},
    ],
}
TOPICS = {
    "author": "bob",
    "input": "Write a post about snow.",
    "output": "Snow fell.",
    "profile": [{"id": "7", "author": "bob", "content": "Rain fell.", "summary": "On rain"}],
}


def write_lines(path, *records):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_abstracts_are_sorted_by_year(tmp_path):
    write_lines(tmp_path / "train.jsonl", ABSTRACTS)

    splits = build_longlamp("abstract_generation_temporal", tmp_path)

    history = (
        Document("We are early.", "Early", "2018"),
        Document("We are late.", "Later", "2020"),
    )
    expected = Example("Ada", ABSTRACTS["input"], "We present engines.", history)
    assert splits == {"train": [expected], "val": [], "test": []}


def test_reviews_from_a_json_list_keep_the_order_of_the_hub(tmp_path):
    (tmp_path / "test.json").write_text(json.dumps([REVIEWS]))

    [example] = build_longlamp("product_review_user", tmp_path)["test"]

    assert example.user_id == "R1"
    assert example.history == (Document("It fries.", "Good"), Document("It leaks.", "Bad"))


def test_topics_from_parquet_in_a_folder_named_like_the_configuration(tmp_path):
    folder = tmp_path / "topic_writing_user"
    folder.mkdir()
    table = pyarrow.Table.from_pylist([TOPICS])
    pyarrow.parquet.write_table(table, folder / "val-00000-of-00001.parquet")

    splits = build_longlamp("topic_writing_user", tmp_path)

    assert splits["val"] == [
        Example("bob", TOPICS["input"], "Snow fell.", (Document("Rain fell.", "On rain"),))
    ]


def test_one_file_is_one_split(tmp_path):
    path = write_lines(tmp_path / "test.jsonl", TOPICS, TOPICS)

    assert [len(e) for e in build_longlamp("topic_writing_user", path).values()] == [0, 0, 2]


def test_a_missing_field_is_named_with_what_there_is(tmp_path):
    path = write_lines(tmp_path / "train.jsonl", TOPICS, REVIEWS)

    with pytest.raises(FlyThinkerError) as error:
        build_longlamp("topic_writing_user", path)
    assert str(error.value).startswith(f"{path}:2: field 'profile[0].content' is missing (there")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"output": None}, "field 'output': expected text, got null"),
        ({"profile": "x"}, "field 'profile': expected a list, got text"),
        ({"profile": [7]}, "field 'profile[0].content' is missing (got a number"),
    ],
)
def test_a_wrong_field_is_named(tmp_path, change, message):
    path = write_lines(tmp_path / "train.jsonl", TOPICS | change)

    with pytest.raises(FlyThinkerError) as error:
        build_longlamp("topic_writing_user", path)
    assert message in str(error.value)


def test_a_wrong_configuration_and_a_folder_without_files_are_named(tmp_path):
    with pytest.raises(FlyThinkerError, match="unknown LongLaMP configuration 'email_user'"):
        build_longlamp("email_user", tmp_path)
    with pytest.raises(FlyThinkerError, match=r"no file named train\*, val\* or test\*"):
        build_longlamp("topic_writing_user", tmp_path)
    with pytest.raises(FlyThinkerError, match="nowhere: no such file or folder"):
        build_longlamp("topic_writing_user", tmp_path / "nowhere")
