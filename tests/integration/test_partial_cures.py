"""Cures of a regime of which a repetition failed: a cured model is compared with the model of its own repetition, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_project import CURED, project

import proxyaudit.pipeline.measure
from proxyaudit.cache import Cache, Task
from proxyaudit.errors import InputError
from proxyaudit.evidence.pack import read_pack
from proxyaudit.pipeline.prepared import Prepared
from proxyaudit.pipeline.run import run_audit

pytestmark = pytest.mark.long


@pytest.mark.parametrize(("broken", "most"), [((2,), 2), ((1,), 1), ((0,), 0)])
def test_cures_end_where_a_repetition_failed(broken: tuple[int, ...], most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measure = proxyaudit.pipeline.measure.run

    def run(task: Task, prepared: Prepared, cache: Cache, folder: Path) -> None:
        if task.regime == "real" and task.seed in broken:
            raise InputError("it cannot be measured today")
        measure(task, prepared, cache, folder)

    monkeypatch.setattr(proxyaudit.pipeline.measure, "run", run)
    monkeypatch.setenv("PROXYAUDIT_CACHE", str(tmp_path / "cache"))
    recipe = project(tmp_path, CURED.replace("seeds: 1", "seeds: 3").replace("effort: decide", "effort: standard"))
    found = run_audit(recipe, out=tmp_path / "out", jobs=1)
    assert found.status == "partial"
    cures = [e for e in read_pack(found.folder).evidence.estimates if e.channel == "cure" and e.measure == "gap"]
    assert max((e.seeds or 0 for e in cures), default=0) == most
