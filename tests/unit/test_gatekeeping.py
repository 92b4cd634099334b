"""Presence is corrected within protected attributes and within proxies: power where it counts, error rates as promised."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from proxyaudit.estimates.states import corrected, decide_states
from proxyaudit.seeding import stream
from proxyaudit.stats.p_values import holm, weighted_holm
from proxyaudit.types import Estimate, Evidence, Role, RunInfo
from proxyaudit.verification.checks import state_problems

MARGINS = {"leak": 0.02, "nonlinear": 0.1, "gap": 0.05, "effect": 0.02, "relearned": 0.05}
MARGIN = {"linear": 0.02, "nonlinear": 0.1, "elsewhere": 0.02, "used": 0.02, "expressed": 0.05}
PROXIES = [f"column{k}" for k in range(10)]
ROLES: dict[str, Role] = {"sex": "protected", **dict.fromkeys(PROXIES, "proxy")}


def number(attribute: str, channel: str, p: float, site: str | None = None) -> Estimate:
    state = {"margin": MARGIN[channel], "value": 3 * MARGIN[channel], "beyond_null": True, "state": "unknown", "reason": "x"}
    return Estimate(id="", attribute=attribute, regime="vendor", channel=channel, site=site, p_present=p, p_absent=1.0, **state)


def numbered(estimates: Sequence[Estimate]) -> list[Estimate]:
    return [e.model_copy(update={"id": f"E{k}"}) for k, e in enumerate(estimates, start=1)]


def of_proxies(p: float = 1.0, sites: int = 30) -> list[Estimate]:
    return [number(name, "elsewhere", p, f"s{k}") for name, k in product(PROXIES, range(sites))]


def pack(estimates: Sequence[Estimate], version: str = "1.1") -> Evidence:
    run = RunInfo(id="x", name="x", status="complete", plan_digest="", versions={}, seed=0)
    return Evidence(schema_version=version, run=run, findings=(), estimates=tuple(estimates), controls=(), not_tested=())


def test_an_effect_that_plain_holm_over_all_loses_is_found() -> None:
    own = [number("sex", "used", 0.004, "penultimate"), *(number("sex", name, 1.0) for name in ("linear", "nonlinear", "expressed"))]
    estimates = numbered([*own, *of_proxies()])
    assert decide_states(estimates, (), None)["E1"] == "unknown"
    assert decide_states(estimates, (), ROLES)["E1"] == "present"


def test_no_proxy_changes_what_is_said_of_a_protected_attribute() -> None:
    own = [number("sex", name, p) for name, p in (("used", 0.012), ("linear", 0.03), ("expressed", 0.2))]
    alone = decide_states(numbered(own), (), ROLES)
    for p in (1.0, 1e-9):
        assert decide_states(numbered([*own, *of_proxies(p)]), (), ROLES).items() >= alone.items()


def test_many_sites_take_power_from_their_own_question_only() -> None:
    sites = [number("sex", "elsewhere", 0.5, f"s{k}") for k in range(40)]
    few, many = numbered([number("sex", "used", 0.02), sites[0]]), numbered([number("sex", "used", 0.02), *sites])
    assert decide_states(few, (), ROLES)["E1"] == decide_states(many, (), ROLES)["E1"] == "present"
    assert corrected(few, ROLES)["E1"] == pytest.approx(0.04)
    assert corrected(many, ROLES)["E1"] == pytest.approx(0.04)


def test_every_pair_of_attribute_and_question_has_the_same_weight() -> None:
    """The smallest p-value of a family is adjusted by the weight of all: one for each pair, shared by its numbers."""
    asked = [number("sex", "linear", 1e-6, "a"), number("sex", "linear", 0.5, "b"), number("sex", "used", 0.5), number("race", "used", 0.5)]
    adjusted = corrected(numbered(asked), {"sex": "protected", "race": "protected"})
    assert adjusted["E1"] == pytest.approx(1e-6 * 3 / 0.5)
    unasked = number("sex", "expressed", 0.5).model_copy(update={"p_present": None})
    assert corrected(numbered([*asked, unasked]), {"sex": "protected", "race": "protected"}) == pytest.approx(adjusted)


@pytest.mark.parametrize(("channel", "measure"), [("used", "effect"), ("expressed", "gap"), ("linear", "leak")])
@pytest.mark.parametrize(("p_absent", "state"), [(0.009, "absent"), (0.011, "unknown"), (0.02, "unknown")])
def test_effects_and_leaks_are_absent_at_one_level(channel: str, measure: str, p_absent: float, state: str) -> None:
    below = {"measure": measure, "value": 0.0, "p_absent": p_absent}
    estimates = numbered([number("sex", channel, 1.0, "penultimate").model_copy(update=below)])
    assert decide_states(estimates, (), ROLES)["E1"] == state


def test_who_has_no_role_takes_power_from_nobody() -> None:
    estimates = numbered([number("sex", "used", 0.04), *(number("stranger", "used", 1.0, f"s{k}") for k in range(9))])
    assert decide_states(estimates, (), ROLES)["E1"] == "present"


def test_verify_decides_by_the_roles_of_the_plan_and_by_the_old_rule_in_schema_1_0() -> None:
    raw = numbered([number("sex", "used", 0.01, "penultimate"), *of_proxies()])
    for version, roles in (("1.1", ROLES), ("1.0", None)):
        states = decide_states(raw, (), roles)
        right = [e.model_copy(update={"state": states[e.id]}) for e in raw]
        wrong = [right[0].model_copy(update={"state": "unknown" if states["E1"] == "present" else "present"}), *right[1:]]
        assert state_problems(pack(right, version), MARGINS, roles=ROLES) == []
        assert len(state_problems(pack(wrong, version), MARGINS, roles=ROLES)) == 1
    relabelled: dict[str, Role] = {**ROLES, "sex": "proxy"}
    states = decide_states(raw, (), ROLES)
    assert state_problems(pack([e.model_copy(update={"state": states[e.id]}) for e in raw]), MARGINS, roles=relabelled)


@pytest.mark.parametrize("shared", [0.0, 0.8])
def test_the_error_rate_of_each_family_is_at_most_its_level(shared: float) -> None:
    """Nothing is there; p-values uniform, independent or strongly dependent."""
    rng, rounds = stream(0, "families", str(shared)), 2000
    sites = [("sex", "linear", 1), ("sex", "elsewhere", 8), ("race", "used", 2), *((name, "elsewhere", 4) for name in PROXIES)]
    asked = numbered([number(name, channel, 1.0, f"s{k}") for name, channel, count in sites for k in range(count)])
    roles: dict[str, Role] = {**ROLES, "race": "protected"}
    wrong = dict.fromkeys(("protected", "proxy"), 0)
    for _ in range(rounds):
        scores = np.sqrt(shared) * rng.normal() + np.sqrt(1 - shared) * rng.normal(size=len(asked))
        estimates = [e.model_copy(update={"p_present": p}) for e, p in zip(asked, norm.sf(scores).tolist(), strict=True)]
        adjusted = corrected(estimates, roles)
        for family in wrong:
            wrong[family] += any(adjusted[e.id] <= 0.05 for e in estimates if roles[e.attribute or ""] == family)
    # Three standard errors of a share of .05.
    most = rounds * (0.05 + 3 * np.sqrt(0.05 * 0.95 / rounds))
    assert max(wrong.values()) <= most


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 5)), min_size=1, max_size=20))
def test_weighted_holm_is_monotone_never_smaller_and_blind_to_the_scale_of_weights(pairs: list[tuple[float, float]]) -> None:
    p, w = (np.array(column) for column in zip(*pairs, strict=True))
    adjusted = weighted_holm(p, w)
    assert (adjusted >= p - 1e-12).all()
    assert adjusted.max() <= 1
    assert (np.diff(adjusted[np.argsort(p / w, kind="stable")]) >= 0).all()
    assert np.allclose(weighted_holm(p, 3 * w), adjusted)
    assert np.allclose(weighted_holm(p, np.ones(len(p))), holm(p))
