"""How past texts are to be read, and what came of it: read, skipped and why, assumed."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flythinker.data.example import Document
from flythinker.errors import FlyThinkerError


class Unreadable(Exception):
    """A file, or a part of one, gives no text; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Remark:
    """Something about a file (or a part of it) that its owner should know."""

    where: str
    what: str


@dataclass
class Reading:
    """Settings of an import, and its report.

    `strict` makes the first skip or remark a `FlyThinkerError`. `day_first` says how `01/05/2024`
    is meant; `None` leaves such dates out and names them. `senders` are the person's addresses in
    mailboxes, in lower case. An archive that unpacks to more than `max_unpacked` bytes is taken
    for a bomb.
    """

    strict: bool = False
    day_first: bool | None = None
    senders: tuple[str, ...] = ()
    max_unpacked: int = 20 * 2**30
    documents: dict[str, list[Document]] = field(default_factory=dict)  # by kind of source
    skipped: list[Remark] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    assumed: Counter[str] = field(default_factory=Counter)

    def took(self, kind: str, documents: Sequence[Document]) -> None:
        """Count what was read from a source of one kind, as `md` or `mbox`."""
        if documents:
            self.documents.setdefault(kind, []).extend(documents)

    def skip(self, where: str | Path, why: str) -> None:
        """Name what gives no text."""
        self._say(self.skipped, where, why)

    def remark(self, where: str | Path, what: str) -> None:
        """Name what was read, though not all of it was understood."""
        self._say(self.remarks, where, what)

    def leave_out(self, what: str) -> None:
        """Count what is passed over by a rule, as hidden folders: nothing is wrong with it."""
        self.left_out[what] += 1

    def assume(self, what: str) -> None:
        """Count what nothing said and had to be assumed."""
        self.assumed[what] += 1

    def include(self, inner: "Reading", unpacked: str, archive: str) -> None:
        """Take over the report of an archive that lay unpacked in a folder while it was read."""
        for kind, documents in inner.documents.items():
            self.took(f"{kind} in zip" if "zip" not in kind else kind, documents)
        self.left_out += inner.left_out
        self.assumed += inner.assumed
        for own, theirs in ((self.skipped, inner.skipped), (self.remarks, inner.remarks)):
            own += [Remark(one.where.replace(unpacked, archive), one.what) for one in theirs]

    def take_over(self, inner: "Reading", folder: str) -> None:
        """Add the report of a file that lay in a folder of no interest while it was read."""
        for kind, documents in inner.documents.items():
            self.took(kind, documents)
        self.left_out += inner.left_out
        self.assumed += inner.assumed
        for own, theirs in ((self.skipped, inner.skipped), (self.remarks, inner.remarks)):
            own += [Remark(one.where.replace(folder, ""), one.what) for one in theirs]

    def _say(self, remarks: list[Remark], where: str | Path, what: str) -> None:
        if self.strict:
            raise FlyThinkerError(f"{where}: {what}")
        remarks.append(Remark(str(where), what))
