"""Lines in a log, with a clock of the test's own where the pace matters."""

import io
import re
import sys

import pytest

from flythinker import progress
from flythinker.progress import Lines, duration, part, track


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """`clock[0]` is the time in seconds."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even work of no length gets its last line."""
    monkeypatch.setattr(progress, "FIRST_LINE", 0.0)
    monkeypatch.setattr(progress, "BETWEEN_LINES", 60.0)


def printed(lines: Lines, capsys: pytest.CaptureFixture[str]) -> str:
    """The line that is due now."""
    lines._print(*lines._pace())
    return capsys.readouterr().err.splitlines()[-1]


def test_a_line_has_steps_note_pace_and_time_left(clock, capsys):
    with Lines("train", 400, unit="/step") as lines:
        clock[0] += 12
        assert printed(lines, capsys) == "train  0/400  12 s so far"
        for step in range(1, 121):
            clock[0] += 2.125
            lines.advance(step)
        lines.note = "loss 3.213"
        assert printed(lines, capsys) == "train  120/400  loss 3.213  2.1 s/step  10 min left"
        clock[0] += 60  # in the middle of a step
        assert printed(lines, capsys).endswith("9 min left")
    assert capsys.readouterr().err == "train  120/400  loss 3.213  done in 5 min\n"


def test_time_left_follows_the_last_minute(clock, capsys):
    lines = Lines("train", 1000)
    for step in range(1, 101):  # a slow beginning
        clock[0] += 10
        lines.advance(step)
    for step in range(101, 201):
        clock[0] += 1
        lines.advance(step)
    assert printed(lines, capsys) == "train  200/1000  1 s each  13 min left"
    lines.end(finished=False)


def test_steps_from_before_a_resumption_are_not_timed(clock, capsys):
    lines = Lines("Writing", 100, done=90)
    clock[0] += 30
    lines.advance(91)
    assert printed(lines, capsys) == "Writing  91/100  30 s each  4 min left"
    lines.end(finished=False)


def test_a_pause_is_no_steps_time(clock, capsys):
    lines = Lines("train", 10)
    lines.advance(1)
    lines.pause()
    clock[0] += 500  # an evaluation
    lines.go_on()
    clock[0] += 2
    lines.advance(2)
    assert printed(lines, capsys) == "train  2/10  2 s each  16 s left"
    lines.end(finished=False)


def test_many_fast_steps_keep_few_marks(clock):
    with Lines("encoding", 100_000) as lines:
        for step in range(100_000):
            clock[0] += 0.01
            lines.advance(step)
        assert len(lines._marks) < 100


def test_track_yields_everything_and_says_when_it_is_done(at_once, capsys):
    assert list(track(range(3), "Counting")) == [0, 1, 2]
    assert list(track(iter("ab"), "Spelling")) == ["a", "b"]  # of unknown length
    assert list(track([7], "Going on", done=2)) == [7]
    last = [line for line in capsys.readouterr().err.splitlines() if "done in" in line]
    assert last == [
        "Counting  3/3  done in 0 s",
        "Spelling  2  done in 0 s",
        "Going on  3/3  done in 0 s",
    ]


def test_short_work_says_nothing(capsys):
    assert list(track(range(3), "Counting")) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_an_error_is_not_done(at_once, capsys):
    def fail() -> None:
        for item in track(range(3), "Counting"):
            raise ValueError(item)

    with pytest.raises(ValueError, match="0"):
        fail()
    assert "done" not in capsys.readouterr().err


def test_other_processes_of_a_training_are_silent(at_once, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert list(track(range(3), "Counting")) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_a_part_stands_before_the_lines_inside(at_once, capsys):
    with part("3 of 10: SFT, seed 1"):
        list(track(range(2), "Writing"))
    list(track(range(2), "Scoring"))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "3 of 10: SFT, seed 1"
    assert "[3 of 10: SFT, seed 1]  Writing  2/2  done in 0 s" in lines
    assert "Scoring  2/2  done in 0 s" in lines


def test_a_log_that_cannot_be_written_ends_no_work(at_once, monkeypatch):
    class FullDisk(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stderr", FullDisk())
    assert list(track(range(3), "Counting")) == [0, 1, 2]


def test_colours_in_a_ci_are_no_terminal(at_once, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    list(track(range(3), "Counting"))
    assert not re.search(r"[\r\x1b]", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (89, "89 s"), (91, "2 min"), (89 * 60, "89 min"), (7500, "2 h 5 min")],
)
def test_durations(seconds, words):
    assert duration(seconds) == words
