"""Progress counts work, and a log without a terminal is never silent for long."""

import sys
import time
from dataclasses import dataclass
from itertools import pairwise

import pytest

from proxyaudit.cli import console, pace
from proxyaudit.cli.pace import EVERY, Lines, Pace


@dataclass(frozen=True)
class _Event:
    stage: str
    done: float
    total: float
    detail: str = ""


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_time_left_follows_the_pace_of_the_work_not_the_number_of_tasks() -> None:
    clock = _Clock()
    shown = Pace(clock)
    assert shown.left is None
    clock.now = 7.0  # preparing is no work of the tasks
    shown.take(_Event("train", 0, 1000))
    assert shown.left == pytest.approx(1000)
    clock.now += 200
    shown.take(_Event("train", 100, 1000))  # half as fast as predicted
    assert shown.left == pytest.approx(900 * 220 / 120)
    assert "10 % of the work done" in shown.words()
    assert "about 28 min left" in shown.words()
    clock.now += 60
    assert shown.left == pytest.approx(900 * 220 / 120 - 60)
    clock.now += 900 * 220 / 120 - 60
    assert shown.left == pytest.approx(90 * 220 / 120), "work that takes longer than predicted is not done"


@pytest.mark.parametrize(("predicted", "silent"), [(10, 120), (14, 30), (600, 6000)])
def test_time_left_does_not_fall_to_nothing_while_nothing_is_done(predicted: float, silent: int) -> None:
    clock = _Clock()
    shown = Pace(clock)
    shown.take(_Event("synthesize", 0, predicted, "3 of 3 tasks to do"))
    clock.now = float(silent)
    before = shown.left
    assert before == pytest.approx(silent - predicted), "what is overdue goes on for about as long as it is overdue"
    shown.take(_Event("synthesize", 0.05 * predicted, predicted))
    assert before is not None
    assert shown.left is not None
    assert 0.5 < shown.left / before < 30, "the first task that ends does not turn seconds into hours"


@pytest.mark.parametrize(
    ("left", "words"),
    [
        *((0.2, "under 10 s left"), (10, "under 10 s left"), (12, "about 20 s left"), (82, "about 90 s left")),
        *((89.9, "about 90 s left"), (91, "about 2 min left"), (3000, "about 50 min left")),
    ],
)
def test_time_left_is_told_no_finer_than_it_is_known(left: float, words: str) -> None:
    shown = Pace(_Clock())
    shown.take(_Event("train", 0, left))
    assert shown.left_words() == words


def test_a_line_comes_every_half_minute_though_one_task_lasts_for_long() -> None:
    clock, said = _Clock(), list[tuple[float, str]]()
    lines = Lines(lambda text: said.append((clock.now, text)), clock)
    for second in range(1, 601):
        clock.now = float(second)
        if second == 40:
            lines.take(_Event("measure", 0, 1200, "3 of 3 tasks to do"))
        if second == 45:
            lines.take(_Event("measure", 100, 1200, "real, repetition 1: done"))
        lines.beat()
    times = [0.0, *(when for when, _ in said), 600.0]
    assert max(b - a for a, b in pairwise(times)) <= EVERY
    assert said[0] == (30.0, "prepare")
    assert "0 % of the work done" in said[1][1], "a stage is told where it begins"
    assert all("8 % of the work done" in text and "left" in text for when, text in said if when > 45)


def test_lines_come_while_the_work_of_the_process_goes_on(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "EVERY", 0.05)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    with console.progress_bars(shown=True) as progress:
        progress(_Event("measure", 1, 2, "real, repetition 1: done"))
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and capsys.readouterr().err.count("50 % of the work done") < 1:
            time.sleep(0.12)
        time.sleep(0.3)
    assert capsys.readouterr().err.count("proxyaudit: measure: 50 % of the work done") >= 2
