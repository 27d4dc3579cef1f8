"""Pairwise judging: which of two texts is closer to how a user would have written?

A judge (a language model, see `endpoint`) sees some of the user's past texts, the task, what
the user really wrote and two anonymous texts. Each pair is asked twice with the order swapped: a
method wins only where both orders prefer its text, so that a preference for a place cancels (Zheng
et al., 2023, "Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena"). An answer that did not come
is counted as missing; nothing is guessed in its place.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, Protocol

from rich.table import Table
from rich.text import Text

from flythinker.errors import FlyThinkerError
from flythinker.evaluation.compare import MIN_EXAMPLES
from flythinker.files import atomic_write
from flythinker.judge.questions import Question
from flythinker.progress import track
from flythinker.reporting.format import COLOURS, SIGNS
from flythinker.runs import Journal
from flythinker.scoring.significance import Estimate, bootstrap, mean_statistics

GIVE_UP_AFTER = 20
"""So many failed questions in a row are no bad luck: the run stops instead of paying for more."""

Closer = Literal["A", "B", "tie"]

Pair = tuple[Closer | None, Closer | None]
"""What was closer with a method's text shown as A, and with it shown as B."""


@dataclass(frozen=True)
class Answer:
    """What the judge said; `closer` is None where nothing usable came, `reason` then says why."""

    closer: Closer | None
    reason: str


Ask = Callable[[str], Awaitable[Answer]]
"""Puts a prompt to the judge; raises `FlyThinkerError` where asking more makes no sense."""


class Judge(Protocol):
    """Who is asked; `Endpoint` is one."""

    model: str
    base_url: str

    async def ask(self, prompt: str) -> Answer:
        """See `Ask`."""


def judge_by(
    judging: Judge, questions: Sequence[Question], baseline: str, out: Path, concurrency: int = 4
) -> dict[str, Any]:
    """Put `questions` to a judge, see `judge`.

    Returns JSON-able `model`, `base_url`, `rows` (see `tally`) and `missing_reasons`.
    """
    settings = {"model": judging.model, "base_url": judging.base_url}
    answers = judge(questions, judging.ask, out, settings, concurrency)
    rows = tally(questions, answers, baseline)
    return settings | {"rows": rows, "missing_reasons": missing_reasons(answers)}


def judge(
    questions: Sequence[Question],
    ask: Ask,
    out: Path,
    settings: Mapping[str, Any],
    concurrency: int = 4,
) -> list[Answer]:
    """Ask every question; returns the answers in the questions' order and writes them to `out`.

    A line of `out` holds `example` (its number), `a` and `b` (the methods in the order shown),
    `closer` and `reason`. Answers are kept in `OUT.partial` as they come, so that a run that was
    stopped asks nothing twice; it stays while any is missing, and then only those are asked again.

    Raises:
        FlyThinkerError: `OUT.partial` was begun with other questions or `settings`; `ask` gave up,
            or failed `GIVE_UP_AFTER` times in a row; more than half of the pairs are missing (`out`
            is not written then).
    """
    partial = out.with_name(out.name + ".partial")
    prompts = json.dumps([question.prompt for question in questions])
    journal = Journal(
        partial,
        dict(settings) | {"prompts": sha256(prompts.encode()).hexdigest()},
        "judge the same texts by the same judge, delete it, or choose another --out",
    )
    asked = {(q.example, q.a, q.b): q for q in questions}
    answers = {
        asked[entry["example"], entry["a"], entry["b"]]: Answer(entry["closer"], entry["reason"])
        for entry in journal.entries
    }
    asyncio.run(_ask_all(questions, ask, answers, journal, concurrency))

    in_order = [answers[question] for question in questions]
    _check_enough(in_order, partial)
    with atomic_write(out) as file:
        for question, answer in zip(questions, in_order, strict=True):
            file.write(json.dumps(_line(question, answer), ensure_ascii=False) + "\n")
    if all(answer.closer is not None for answer in in_order):
        partial.unlink()
    return in_order


def tally(
    questions: Sequence[Question], answers: Sequence[Answer], baseline: str
) -> list[dict[str, Any]]:
    """Each method against `baseline`: one JSON-able row a method.

    A row holds `name`, `baseline`, the counts `pairs`, `wins`, `ties`, `losses` and `missing`;
    `inconsistent`, the ties that are none to the judge: it changed its mind with the order;
    `win_rate`, (wins + ties / 2) / judged pairs with its 95 % bootstrap interval (None where no
    pair was judged); and `verdict` ("better", "worse", "unclear"), whether that leaves 0.5 out.
    """
    pairs: dict[str, list[Pair]] = {}
    for question, first, swapped in zip(questions[::2], answers[::2], answers[1::2], strict=True):
        pairs.setdefault(question.a, []).append((first.closer, swapped.closer))
    return [_row(name, baseline, judged) for name, judged in pairs.items()]


def missing_reasons(answers: Sequence[Answer]) -> dict[str, int]:
    """Why answers are missing and how often, the most frequent reason first."""
    return dict(Counter(a.reason for a in answers if a.closer is None).most_common())


def judge_table(rows: Sequence[dict[str, Any]]) -> Table:
    """The rows of `tally` for the terminal."""
    table = Table()
    for heading in ("", "wins", "ties", "losses", "missing", "same in both orders", "win rate"):
        table.add_column(heading, justify="right" if heading else "left")
    for row in rows:
        judged = row["pairs"] - row["missing"]
        counts = [str(row[key]) for key in ("wins", "ties", "losses", "missing")]
        consistent = f"{(judged - row['inconsistent']) / judged:.0%}" if judged else "–"
        rate = row["win_rate"]
        shown = "{value:.2f} [{low:.2f}, {high:.2f}]".format(**rate) if rate else "–"
        table.add_row(
            Text(f"{row['name']} against {row['baseline']}"),
            *counts,
            consistent,
            Text(f"{shown} {SIGNS[row['verdict']]}", style=COLOURS[row["verdict"]]),
        )
    table.caption = "(wins + ties / 2) / judged, 95 %; ✓ better, ✗ worse, ≈ unclear"
    return table


def _row(name: str, baseline: str, pairs: Sequence[Pair]) -> dict[str, Any]:
    points = [score for pair in pairs if (score := _points(pair)) is not None]
    rate = bootstrap(mean_statistics(points)) if points else None
    return {
        "name": name,
        "baseline": baseline,
        "pairs": len(pairs),
        "wins": points.count(1.0),
        "ties": points.count(0.5),
        "losses": points.count(0.0),
        "missing": len(pairs) - len(points),
        "inconsistent": sum(_points(pair) == 0.5 and pair != ("tie", "tie") for pair in pairs),
        "win_rate": None if rate is None else asdict(rate),
        "verdict": _verdict(rate, len(points)),
    }


def _points(pair: Pair) -> float | None:
    """1 for a win of the method shown as A first and as B then, 0.5 for a tie, 0 for a loss."""
    match pair:
        case (None, _) | (_, None):
            return None
        case ("A", "B"):
            return 1.0
        case ("B", "A"):
            return 0.0
    return 0.5


def _verdict(rate: Estimate | None, judged: int) -> str:
    if rate is None or judged < MIN_EXAMPLES or rate.low <= 0.5 <= rate.high:
        return "unclear"
    return "better" if rate.value > 0.5 else "worse"


async def _ask_all(
    questions: Sequence[Question],
    ask: Ask,
    answers: dict[Question, Answer],
    journal: Journal,
    concurrency: int,
) -> None:
    """Fill `answers`, keeping each usable one in `journal` the moment it comes."""
    slots = asyncio.Semaphore(concurrency)

    async def answer(question: Question) -> Answer:
        async with slots:
            given = answers[question] = await ask(question.prompt)
        if given.closer is not None:
            journal.add(_line(question, given))
        return given

    failures = 0
    before = len(answers)
    asked = [asyncio.create_task(answer(q)) for q in questions if q not in answers]
    done = asyncio.as_completed(asked)
    try:
        for next_done in track(done, "Judging", len(questions), before):
            given = await next_done
            failures = failures + 1 if given.closer is None else 0
            if failures == GIVE_UP_AFTER:
                raise FlyThinkerError(
                    f"the judge failed {failures} times in a row ({given.reason}); its answers "
                    f"are kept in {journal.path}, the same command goes on from there"
                )
    finally:  # on an error or Ctrl-C nothing is asked any more
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)


def _line(question: Question, answer: Answer) -> dict[str, Any]:
    return {"example": question.example, "a": question.a, "b": question.b} | asdict(answer)


def _check_enough(answers: Sequence[Answer], partial: Path) -> None:
    """Refuse a result of which more than half is missing, with the most frequent reason."""
    pairs = list(zip(answers[::2], answers[1::2], strict=True))
    missing = [pair for pair in pairs if any(answer.closer is None for answer in pair)]
    if 2 * len(missing) <= len(pairs):
        return
    raise FlyThinkerError(
        f"{len(missing)} of {len(pairs)} pairs are missing, too many for a result "
        f"({next(iter(missing_reasons(answers)))}); what came is kept in {partial}, "
        "the same command asks for the rest"
    )
