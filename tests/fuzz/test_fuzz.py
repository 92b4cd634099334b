"""A few seconds of fuzzing with fixed seeds; ``python -m tests.fuzz --minutes 15`` does more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.cases import CASES, Seeds
from tests.fuzz.run import one_case

SEED = 20261129
FEW = 6


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Seeds:
    return Seeds.make(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.long
@pytest.mark.parametrize("kind", list(CASES))
def test_whatever_is_given_one_line_comes_back(kind: str, seeds: Seeds, tmp_path: Path) -> None:
    found = [one_case(seeds, SEED, number, tmp_path, kind) for number in range(FEW)]
    faults = [f"seed {SEED} case {number} ({kind}): {one.fault}\n{one.told}" for number, one in enumerate(found) if one.fault]
    assert not faults, "\n".join(faults)
    assert not list(tmp_path.iterdir())
