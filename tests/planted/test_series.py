"""Planted series: an alarm comes well before the outputs show anything, and clean series hardly ever raise one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from proxyaudit.planted import nets
from proxyaudit.planted.models import ATTRIBUTE, INPUTS, TARGET
from tests.helpers.series import LEAD, STEPS, Followed, follow, make_series, summary

STUDY_SERIES = 20
MARGIN, GAP = 0.02, 0.05


def brute_force(seed: int, clean: bool) -> tuple[list[float], list[float]]:
    """Leak (from the explained variance of the best linear reader) and output gap of every checkpoint, on many rows, in torch alone."""
    series = make_series(seed=seed, clean=clean, rows=1000, scan_rows=30_000)
    x = torch.tensor(series.fresh.drop(columns=[ATTRIBUTE, TARGET]).to_numpy(), dtype=torch.float32)
    side = np.where(series.fresh[ATTRIBUTE] == "b", 0.5, -0.5)
    leaks, gaps = [], []
    for weights in series.steps:
        net = nets.make_linear_head(INPUTS).eval()
        net.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
        with torch.no_grad():
            acts = net.block2(net.block1(x))
            outputs = torch.sigmoid(net.head(acts))[:, 0].numpy()
        design = np.column_stack([acts.numpy().astype(float), np.ones(len(x))])
        fitted = design @ np.linalg.lstsq(design, side, rcond=None)[0]
        share = 1 - ((side - fitted) ** 2).sum() / ((side - side.mean()) ** 2).sum()
        leaks.append(share / (2 * np.log(2)))  # V-information of two classes, to first order
        gaps.append(abs(float(outputs[side > 0].mean() - outputs[side < 0].mean())))
    return leaks, gaps


def test_the_leak_crosses_its_margin_three_checkpoints_before_the_gap() -> None:
    for seed in (0, 1):
        leaks, gaps = brute_force(seed, clean=False)
        entered, shown = (next(k for k in range(STEPS) if values[k] > margin) for values, margin in ((leaks, MARGIN), (gaps, GAP)))
        assert entered == make_series(seed=seed, rows=200, scan_rows=100).entered
        assert shown - entered >= LEAD
        leaks, gaps = brute_force(seed, clean=True)
        assert max(leaks) < MARGIN / 5
        assert max(gaps) < GAP / 2


def test_checkpoints_drift_and_references_have_bases_of_their_own() -> None:
    series = make_series(seed=0, clean=True, references=2, rows=200, scan_rows=100)
    one, two = series.steps[0]["head.weight"], series.steps[1]["head.weight"]
    assert not np.allclose(one, two)
    assert np.corrcoef(one, two)[0, 1] > 0.8
    assert abs(np.corrcoef(series.references[0]["head.weight"], series.references[1]["head.weight"])[0, 1]) < 0.7


@pytest.mark.long
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.study)])
@pytest.mark.parametrize("inputs", ["fresh", "unlabelled"])
def test_a_planted_and_a_clean_series(inputs: str, seed: int, tmp_path: Path) -> None:
    # Labelled scans cost more and are steadier: fewer checkpoints of references are needed.
    sizes = {"rows": 4000, "scan_rows": 2500, "references": 1 if inputs == "fresh" else 2}
    planted, clean = (follow(tmp_path / name, seed=seed, clean=name == "clean", inputs=inputs, **sizes) for name in ("planted", "clean"))
    assert planted.ahead
    assert clean.warned is None
    assert planted.answers[-1] == 1
    assert planted.held_out[-1] == (3, 3)
    assert planted.answers[0] != 1
    assert all(asked == 3 for _, asked in clean.held_out)


def test_a_warning_that_comes_too_late_does_not_count() -> None:
    late = Followed(3, 6, (0, 0, 0, 0, 0, 1, 1, 1, 1, 1), (0.0,) * 10, ((0, 3),) * 10, (0, 40))
    never = Followed(3, 6, (0,) * 10, (0.0,) * 10, ((0, 3),) * 10, (1, 40))
    early = Followed(3, 6, (0, 0, 0, 0, 1, 1, 1, 1, 1, 1), (0.0,) * 10, ((0, 3),) * 10, (0, 40))
    assert [found.ahead for found in (late, never, early)] == [False, False, True]
    found = summary([late, never, early], [never])
    assert (found["ahead"], found["planted"], found["clean_alarmed"]) == (1, 3, 0)
    assert (found["placebo_alarms"], found["placebos"]) == (2, 160)


@pytest.mark.study
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("inputs", ["fresh", "unlabelled"])
def test_twenty_planted_and_twenty_clean_series(inputs: str, tmp_path: Path, record_property: pytest.RecordProperty) -> None:
    seeds = range(100, 100 + STUDY_SERIES)
    planted = [follow(tmp_path / f"p{seed}", seed=seed, clean=False, inputs=inputs) for seed in seeds]
    clean = [follow(tmp_path / f"c{seed}", seed=seed, clean=True, inputs=inputs) for seed in seeds]
    found = summary(planted, clean)
    record_property("series", str(found))
    assert found["ahead"] >= 18, found
    assert found["clean_alarmed"] <= 1, found
    assert found["placebo_alarms"] <= 0.05 * found["placebos"], found
