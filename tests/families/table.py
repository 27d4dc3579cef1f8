"""docs/families.md from what `check_family` sees: `python tests/families/table.py [family …]`.

Measured rows take the place of those that are there; without names all families are measured.
"""

import sys
from collections import Counter
from pathlib import Path

import torch
import transformers

sys.path.insert(0, str(Path(__file__).parents[1]))  # `tiny`, as pytest finds it

from checks import Row, check_family
from tiny_families import Unbuildable, families, is_causal, left_out

DOCUMENT = Path(__file__).parents[2] / "docs" / "families.md"

_TEXT = """\
# Families of models

Which decoder-only families of transformers can be Generator and Reasoner, and how they are written
with. Made by `python tests/families/table.py` with transformers {version}, torch {torch}: a tiny
random model of every causal LM in transformers' own mapping, as its own Generator and Reasoner at
λ = 0.5. {counts}

**whole**: a forward pass in which thoughts matter, a text read with a cache = read at once,
padded = alone, saved and loaded = before, a LoRA step; and a `Writer` with texts side by side in
slots, with prompts that begin as one before, with drafts and without, writes what `generate`
writes, greedily.

**general way**: all of this too, but its layers keep something that slots do not hold (a state, a
convolution, an index), or its own code reads texts side by side in another way. The `Writer`, and
with it `write`, `generate`, `evaluate`, `serve` and the page, then writes the texts one after the
other by the model's own forward, without drafts, without prompts read before, without the effects
of thoughts. A line says so, and which layer it is. A state cannot be taken back, so drafts would
need copies of it.

So are models of any family whose rotary positions depend on a text's length: `dynamic` and
`longrope` in a config's `rope_parameters` (Phi-3 with 128k tokens, for one). Side by side, texts
would get the positions of the longest among them.

**refused**: joining the two parts ends in one line that says why.

**fails in transformers**: the family's own model, alone, fails to go on from its cache.

"In transformers itself" in the last column: the family's own model, alone, does not give the same
logits in the two ways either.

No list of names decides. What a layer keeps is asked of transformers' cache; masks of windows and
chunks are those the family itself asks for; caps and sinks are the family's own attention function;
and when a `Writer` takes a model over, two short texts are read in slots and compared with the
model's own pass (`generation/slot_way.py`). That takes five passes of a few tokens.

Slots keep whole texts also where a layer sees a window only: right, with drafts and known prompts,
but no memory is saved.

Left out: {left_out}.

| family | | what was seen |
|---|---|---|
{rows}
"""


def read_rows(document: Path) -> dict[str, tuple[str, str]]:
    """Verdict and remarks by family, as the document has them."""
    lines = document.read_text("utf-8").splitlines() if document.exists() else []
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "|" in line]
    return {row[0]: (row[1], row[2]) for row in cells[2:] if len(row) == 3}


def read_verdicts(document: Path) -> dict[str, str]:
    """What the document says of each family."""
    return {name: verdict for name, (verdict, _) in read_rows(document).items()}


def remarks(row: Row) -> str:
    """What there is to say of a family beside the verdict."""
    said = [row.slower.partition(": ")[2].partition(";")[0]]
    said += row.notes.values()
    said += [
        text if check == "refused" else f"{check}: {text}" for check, text in row.failed.items()
    ]
    return "; ".join(filter(None, said)).replace("|", "/")


def document_of(rows: dict[str, tuple[str, str]]) -> str:
    """The whole document."""
    counts = Counter(verdict for verdict, _ in rows.values())
    without = Counter(
        "other names of a family" if why.startswith("another name") else why
        for name in transformers.CONFIG_MAPPING
        if is_causal(name) and (why := left_out(name)) and name != "flythinker"
    )
    return _TEXT.format(
        version=transformers.__version__,
        torch=torch.__version__.partition("+")[0],
        counts=f"{len(rows)} families: "
        + ", ".join(f"{number} {verdict}" for verdict, number in counts.most_common())
        + ".",
        left_out=", ".join(f"{why} ({number})" for why, number in sorted(without.items())),
        rows="\n".join(f"| {name} | {' | '.join(rows[name])} |" for name in sorted(rows)),
    )


def main(names: list[str]) -> None:
    """Measure families and write them down."""
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    for name in names or families():
        try:
            row = check_family(name)
            seen = row.verdict, remarks(row)
        except Unbuildable as why:
            seen = "not tried", f"no tiny model: {why}"
        print(name, *seen, flush=True)
        rows = {**read_rows(DOCUMENT), name: seen}
        DOCUMENT.write_text(document_of({each: rows[each] for each in rows}), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
