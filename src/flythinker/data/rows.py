"""Encoded examples that stay on the disk: each is read when it is needed."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from flythinker.data.batch import Row, encode_prompt
from flythinker.data.prompt import Prompt

if TYPE_CHECKING:
    from datasets import Dataset


class Rows(Sequence[Row]):
    """Rows of a memory-mapped dataset, in an order of their own.

    Attributes:
        dataset: `input_ids`, `prompt_length` and maybe `reasoner_ids` of each row.
        order: which row of the dataset is the first, the second, …; `[rows]`.
        whole: the prompt is learned as well.
    """

    def __init__(self, dataset: "Dataset", order: NDArray[np.int64], whole: bool = False) -> None:
        self.dataset = dataset
        self.order = order
        self.whole = whole

    @classmethod
    def load(cls, folder: Path) -> "Rows":
        """Open what `encode_file` has left in a folder."""
        from datasets import Dataset, concatenate_datasets

        parts = [Dataset.from_file(str(file)) for file in sorted(folder.glob("*.arrow"))]
        return cls(concatenate_datasets(parts), np.load(folder / "order.npy"))

    def learned_whole(self) -> "Rows":
        """The same rows, labelled on prompt and response."""
        return Rows(self.dataset, self.order, whole=True)

    def lengths(self) -> list[int]:
        """Tokens of each row's `input_ids`, without reading them."""
        import pyarrow.compute

        column = self.dataset.data.column("input_ids")
        lengths = pyarrow.compute.list_value_length(column).to_numpy()
        found: list[int] = lengths[self.order].tolist()
        return found

    def __len__(self) -> int:
        return len(self.order)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        record = self.dataset[int(self.order[index])]
        ids, n = record["input_ids"], record["prompt_length"]
        reasoner = record.get("reasoner_ids")
        if reasoner is not None:
            reasoner = reasoner[: len(reasoner) - (len(ids) - n)]
        row = encode_prompt(Prompt(ids[:n], ids[n:], (), reasoner))
        return {**row, "labels": row["input_ids"]} if self.whole else row
