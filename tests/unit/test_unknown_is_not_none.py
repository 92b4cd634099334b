"""What was not asked, forgotten or could not be told never passes for "nothing there": on bare activations and on models."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest

import proxyaudit as pa
from proxyaudit.estimates.conclude import conclude
from proxyaudit.estimates.questions import deciding_names
from proxyaudit.estimates.scope import Scope
from proxyaudit.estimates.states import decide
from proxyaudit.seeding import stream
from proxyaudit.types import Estimate, Finding, State, Surface

SITES, PROFILE = ("a", "b"), ("a", "b", "early")
BARE = Scope("activations", {"sex": "protected"}, ("vendor",), verdict_sites=SITES, profile=SITES)
MODELS = Scope("outputs", {"sex": "protected"}, ("vendor",), verdict_sites=SITES, profile=PROFILE)
CHANNELS = deciding_names()


def number(channel: str, state: State, site: str | None = None, **more: Any) -> Estimate:
    fields = {"id": f"{channel} {site}", "attribute": "sex", "regime": "vendor", "reason": "x" if state == "unknown" else None}
    return Estimate(**{**fields, "channel": channel, "state": state, "site": site, **more})


def bare(**states: State) -> list[Estimate]:
    """Numbers of both sites of activations; absent unless said."""
    return [number(name, states.get(name, "absent"), site) for name in ("linear", "nonlinear") for site in SITES]


def of_models(**states: State) -> list[Estimate]:
    inside = [number(name, states.get(name, "absent"), site) for name in ("linear", "nonlinear", "beyond", "used") for site in SITES]
    others = [number("elsewhere", states.get("elsewhere", "absent"), "early"), number("expressed", states.get("expressed", "absent"))]
    return [*inside, *others, number("relearned", states.get("relearned", "absent"), "b")]


def found(numbers: list[Estimate], scope: Scope) -> Finding:
    (finding,) = conclude(numbers, (), scope)
    return finding


WORLDS = {"activations": (bare, BARE), "outputs": (of_models, MODELS)}


@pytest.mark.parametrize("surface", WORLDS)
def test_everything_absent_is_removed(surface: str) -> None:
    make, scope = WORLDS[surface]
    assert found(make(), scope).verdict == "removed"


@pytest.mark.parametrize("surface", WORLDS)
@pytest.mark.parametrize("inside", ["nonlinear", "elsewhere", "relearned"])
def test_an_unknown_surface_beside_something_inside_is_never_hidden(surface: str, inside: str) -> None:
    """Of activations the surface is the linear reader, of models outputs and use."""
    make, scope = WORLDS[surface]
    if surface == "activations":
        variants: list[dict[str, State]] = [{"nonlinear": "present", "linear": state} for state in ("unknown", "not_applicable")]
    else:
        variants = [{inside: "present", name: state} for name in ("expressed", "used") for state in ("unknown",)]
        variants += [{inside: "present", "expressed": "not_applicable", "used": "not_applicable"}]
    for states in variants:
        finding = found(make(**states), scope)
        assert (finding.verdict, finding.at_least) == ("inconclusive", "hidden"), states
        assert finding.would_settle
        assert finding.use != ("none",) or surface == "activations"


@pytest.mark.parametrize(
    ("surface", "channel"), [*product(WORLDS, ("linear", "nonlinear")), ("outputs", "elsewhere"), ("outputs", "beyond")]
)
def test_a_site_without_a_number_is_not_absent(surface: str, channel: str) -> None:
    make, scope = WORLDS[surface]
    kept = [e for e in make() if (e.channel, e.site) not in ((channel, "a"), (channel, "early"))]
    assert found(kept, scope).verdict == "inconclusive"
    assert found([e for e in make() if e.channel != channel], scope).verdict == "inconclusive"


@pytest.mark.parametrize("surface", WORLDS)
def test_removed_takes_a_reader_inside_and_an_eye_on_the_outputs(surface: Surface) -> None:
    for states in product(("absent", "not_applicable"), repeat=len(CHANNELS)):
        given: dict[str, State] = dict(zip(CHANNELS, states, strict=True))
        decision = decide(given, surface=surface)
        looked = given["linear"] == given["nonlinear"] == "absent" and (surface == "activations" or given["expressed"] == "absent")
        assert (decision.verdict == "removed") == looked, given


@pytest.mark.parametrize("inside", ["linear", "nonlinear", "beyond"])
def test_hidden_takes_outputs_that_were_asked(inside: str) -> None:
    nothing: dict[str, State] = {**dict.fromkeys(CHANNELS, "not_applicable"), inside: "present"}
    assert decide(nothing).use == ("unknown",)
    assert decide(nothing).verdict == "inconclusive"
    assert decide({**nothing, "expressed": "absent"}).verdict == "hidden"


def test_prompts_never_say_that_nothing_is_used_where_nothing_was_asked() -> None:
    nothing: dict[str, State] = dict.fromkeys(CHANNELS, "not_applicable")
    assert decide(nothing, surface="prompts").use == ("unknown",)
    assert decide({**nothing, "linear": "absent", "nonlinear": "absent"}, surface="prompts").verdict != "hidden"


@pytest.mark.parametrize(
    ("given", "word"),
    [((0.1, 0.1), "learned"), ((0.1, None), "unknown"), ((None, 0.1), "unknown"), ((None, None), "unknown"), ((0.001, None), "relayed")],
)
def test_an_origin_without_its_references_is_unknown(given: tuple[float | None, float | None], word: str) -> None:
    numbers = of_models(linear="present", expressed="present")
    numbers = [e.model_copy(update={"margin": 0.02, "value": 0.3, "measure": "leak"}) if e.channel == "linear" else e for e in numbers]
    for name, low in zip(("untrained", "placebos"), given, strict=True):
        if low is not None:
            more = {"measure": f"encoding_above_{name}", "low": low, "value": low}
            numbers.append(number("origin", "unknown", "a", **more).model_copy(update={"state": None}))
    assert found(numbers, MODELS).origin.encoding == word
    if word == "unknown":
        assert "relays" not in found(numbers, MODELS).sentence


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.study), pytest.param(2, marks=pytest.mark.study)])
def test_a_leak_that_few_rows_cannot_tell_beside_a_variance_is_not_called_hidden(seed: int) -> None:
    """Linear leak .04, twice the margin, n = 900, d = 48: `hidden` in 2 of 3 before; `exposed` is true."""
    rng = stream(seed, "unknown is not none")
    sex = rng.integers(0, 2, 900)
    acts = rng.normal(size=(900, 48))
    acts[:, 0] += 0.47 * sex
    acts[:, 1] *= np.where(sex, 2.5, 1.0)
    audit = pa.probe({"model": {"site": acts}}, pd.DataFrame({"sex": np.array(["f", "m"])[sex]}), attributes=["sex"])
    (verdict,) = audit.findings["verdict"]
    assert verdict in ("exposed", "inconclusive")
