"""Whoever makes a model reads people out of the digits of its audit: with every digit they all fall, in what is published none does.

Each attack is run twice: on numbers as they were measured, so that it is known to work, and on the runs that the program writes.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from disclosing import Project, Spotted, Success, gaps, numbers, sizes_by_areas, told, unprotected

from proxyaudit.estimates.rounding import step_of
from proxyaudit.evidence.pack import EvidencePack

pytestmark = pytest.mark.long

STEP = step_of("difference in mean predicted probability", 0.05)
EVERY_DIGIT = 1e-12
WEIGHTS = (0.10, 0.17, 0.24)


class Attacked:
    """One project, its run with every digit and its run as published."""

    def __init__(self, project: Project) -> None:
        self.project = project
        with pytest.MonkeyPatch.context() as patch:
            unprotected(patch)
            self.plain = project.run()
        self.published = project.run()
        self.truth_n = project.truth()

    def success(self, differences: dict[str, tuple[Spotted, str | None]], pack: EvidencePack) -> Success:
        """Of models that know ten people each; beside each the regime that it is subtracted from, if any. Repetitions are averaged."""
        likely, right, step = [], [], EVERY_DIGIT if pack is self.plain else STEP
        for regime, (spotted, base) in differences.items():
            gap = gaps(pack, regime) - (gaps(pack, base) if base else 0)
            likely.append(told(float(gap.mean()), spotted.steps_k, self.truth_n, step / len(gap) ** 0.5))
            right.append(self.truth_n[spotted.rows_k])
        return Success.of(likely, right)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Attacked, dict[str, Spotted]]:
    """Models that act on ten people alone, and twins of an ordinary one that differ from it on ten people alone."""
    project, known = Project(tmp_path_factory.mktemp("once") / "spotters", seed=3), {}
    project.add("ordinary", 0.2)
    for number in range(2):
        for kind, weight in (("constant", 0.0), ("twin", 0.2)):
            known[f"{kind}-{number}"] = project.spot(weight)
            project.add(f"{kind}-{number}", weight, known[f"{kind}-{number}"])
    return Attacked(project), known


@pytest.fixture(scope="module")
def repeated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Attacked, dict[str, Spotted]]:
    """Three ordinary models, and twice three that differ from them on ten people: averages have more digits than their parts."""
    project, known = Project(tmp_path_factory.mktemp("repeated") / "spotters", seed=4), {}
    for weight in WEIGHTS:
        project.add("ordinary", weight)
    for number in range(2):
        known[f"dosed-{number}"] = project.spot(max(WEIGHTS))
        for weight in WEIGHTS:
            project.add(f"dosed-{number}", weight, known[f"dosed-{number}"])
    return Attacked(project), known


def test_a_model_that_acts_on_ten_people_tells_neither_who_was_audited_nor_their_sex(once: tuple[Attacked, dict[str, Spotted]]) -> None:
    attacked, known = once
    mine = {name: (spotted, None) for name, spotted in known.items() if name.startswith("constant")}
    before, after = attacked.success(mine, attacked.plain), attacked.success(mine, attacked.published)
    assert before.rate >= 0.95
    assert after.at_most_chance


def test_the_difference_of_two_regimes_tells_no_more(once: tuple[Attacked, dict[str, Spotted]]) -> None:
    attacked, known = once
    mine = {name: (spotted, "ordinary") for name, spotted in known.items() if name.startswith("twin")}
    before, after = attacked.success(mine, attacked.plain), attacked.success(mine, attacked.published)
    assert before.rate >= 0.95
    assert after.at_most_chance


def test_averaging_over_repetitions_tells_no_more(repeated: tuple[Attacked, dict[str, Spotted]]) -> None:
    attacked, known = repeated
    mine = {name: (spotted, "ordinary") for name, spotted in known.items()}
    before, after = attacked.success(mine, attacked.plain), attacked.success(mine, attacked.published)
    assert before.rate >= 0.95
    assert after.at_most_chance


def test_areas_under_the_curve_do_not_tell_group_sizes(repeated: tuple[Attacked, dict[str, Spotted]]) -> None:
    attacked, _ = repeated
    audited = attacked.truth_n != 0
    labels = attacked.project.table.pay.to_numpy()[audited]
    rows, size = len(labels), int((labels == sorted(set(labels))[1]).sum())
    rates = []
    for pack in (attacked.plain, attacked.published):
        areas = next(numbers(pack, "ordinary", "task", "auroc")).seed_values
        rates.append(np.mean([sizes_by_areas(pair, rows) in (size, rows - size) for pair in combinations(areas, 2)]))
    assert rates[0] >= 0.9
    assert rates[1] <= 0.05
