"""Rates of attributes that overlap in any way, by subtraction: people under 40 less those under 30 are those between."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest

from proxyaudit.stats.suppression import hidden_beside
from tests.unit.test_intersections import part, rates

N = 3000


def told_of(found: list[Any], *attributes: str) -> set[tuple[str, str]]:
    return {(e.attribute, e.group) for e in found if e.measure == "selection_rate" and e.value is not None and e.attribute in attributes}


def sums_of_few(one: Any, other: Any, told: set[tuple[str, str]], chosen: Any) -> list[tuple[int, ...]]:
    """Sets of the smallest groups of both, whose sum follows from what is told and is of fewer than eleven people; solved by itself."""
    pairs, atom = np.unique(np.stack([one.codes, other.codes], axis=1), axis=0, return_inverse=True)
    atom = atom.ravel()
    lines = [pairs[:, k] == code for k, a in enumerate((one, other)) for code, level in enumerate(a.levels) if (a.name, level) in told]
    known = np.array(lines, dtype=float).reshape(len(lines), len(pairs))
    found = []
    for some in (s for size in range(1, len(pairs) + 1) for s in combinations(range(len(pairs)), size)):
        wanted = np.isin(np.arange(len(pairs)), some).astype(float)
        solved = np.linalg.lstsq(known.T, wanted, rcond=None)[0] if len(known) else np.zeros(0)
        inside = np.isin(atom, some)
        if len(known) and np.allclose(known.T @ solved, wanted, atol=1e-8) and min((chosen & inside).sum(), (~chosen & inside).sum()) < 11:
            found.append(some)
    return found


def world(kind: str, seed: int) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 70, N)
    if kind == "cut at other years":
        codes = [np.digitize(age, [30, 50]), np.digitize(age, [31, 60])]
    elif kind == "one made of the other":
        codes = [np.digitize(age, [25, 27, 50]), (age >= 27).astype(int)]
    else:
        codes = [np.digitize(age, [30, 50]), np.where(age < 33, 0, 1 + rng.integers(0, 2, N))]
    own = [part(name, c, *(f"{name}{k}" for k in range(c.max() + 1))) for name, c in zip(("first", "second"), codes, strict=True)]
    chosen = rng.random(N) < 0.4
    chosen[(age >= 30) & (age < 33)] = False  # nobody of a strip is selected
    chosen[np.flatnonzero((age >= 25) & (age < 27))[5:]] = False
    return own[0], own[1], chosen


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["cut at other years", "one made of the other", "in part only"])
def test_no_difference_of_two_attributes_tells_of_few(kind: str, seed: int) -> None:
    one, other, chosen = world(kind, seed)
    for own in ((one, other), (other, one)):
        told = told_of(rates(own, [chosen]), "first", "second")
        assert not sums_of_few(one, other, told, chosen), told
        assert {name for name, _ in told}, "something is told all the same"


def test_the_attack_works_on_what_is_not_left_out() -> None:
    one, other, chosen = world("cut at other years", 0)
    everything = {(a.name, level) for a in (one, other) for level in a.levels}
    assert sums_of_few(one, other, everything, chosen)


def test_nothing_is_left_out_where_no_difference_is_small() -> None:
    rng = np.random.default_rng(1)
    sex, race = rng.integers(0, 2, N), rng.integers(0, 5, N)
    assert hidden_beside(sex, race, [rng.random(N) < 0.4], np.arange(N), 11) == frozenset()
    # A cell that few make up is no difference of groups that cross one another whole.
    chosen = rng.random(N) < 0.4
    chosen[(sex == 0) & (race == 0)] = False
    assert hidden_beside(sex, race, [chosen], np.arange(N), 11) == frozenset()


def test_a_search_that_takes_too_long_tells_nothing() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 24, N), rng.integers(0, 24, N)  # hardly anybody shares both groups with eleven others
    assert hidden_beside(one, other, [rng.random(N) < 0.4], np.arange(N), 11) == frozenset(range(24))


@pytest.mark.parametrize("wanted", [("first", "third"), ("third", "first")])
def test_cells_of_an_intersection_are_held_against_other_attributes_too(wanted: tuple[str, str]) -> None:
    from proxyaudit.data.intersections import cross

    one, other, chosen = world("cut at other years", 2)
    third = part("third", np.arange(N) % 2, "x", "y")
    crossed, _ = cross([{"first": one, "third": third}[name] for name in wanted], fewest=30, people_n=np.arange(N), where="x")
    found = rates((one, other, third, crossed), [chosen])
    told = told_of(found, "first", "second", "third", crossed.name)
    assert not sums_of_few(crossed, other, told, chosen), told
