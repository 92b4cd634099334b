"""A plan's minutes are of this machine, not of the one that its constants were measured on."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from small_project import project

from proxyaudit.cli import console, speed
from proxyaudit.cli.main import main
from proxyaudit.cli.speed import NOMINAL, slowness


@pytest.mark.parametrize(("took", "times"), [([4, 4, 4, 4], 2.0), ([9, 1, 5, 7], 1.0), ([0.25] * 4, 0.5), ([400] * 4, 10.0)])
def test_the_best_of_several_tries_counts(took: list[float], times: float, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = itertools.cycle(NOMINAL * one for one in took)
    monkeypatch.setattr(speed, "work", lambda: next(tries))
    assert slowness() == pytest.approx(times)


def test_it_takes_a_fraction_of_a_second() -> None:
    assert 0 < speed.work() < 40 * NOMINAL


@pytest.mark.parametrize(
    ("slow", "minutes", "said"), [(2.0, 3.0, "about 6 minutes"), (0.3, 2.0, "about a minute"), (1.3, 33.3, "about 43 minutes")]
)
def test_a_plan_shown_is_of_this_machine(
    slow: float, minutes: float, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(speed, "slowness", lambda: slow)
    assert main(["plan", str(project(tmp_path)), "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    console.plan_tables({**plan, "estimated_minutes": minutes})
    assert f"{said} on two cores of this machine" in capsys.readouterr().out
