"""The verdict function is total, and a wrong "removed" has no way in."""

from itertools import product

import pytest

from proxyaudit.estimates.questions import deciding_names
from proxyaudit.estimates.states import combine, decide

CHANNELS = deciding_names()
STATES = ("present", "absent", "unknown", "not_applicable")


def every_state():
    return (dict(zip(CHANNELS, states, strict=True)) for states in product(STATES, repeat=len(CHANNELS)))


def test_total_and_consistent_over_all_states():
    for states in every_state():
        decision = decide(states)
        present = {channel for channel, state in states.items() if state == "present"}
        applying = {state for state in states.values() if state != "not_applicable"}
        used = {"expressed", "used"} & present
        assert (decision.verdict == "exposed") == bool(used)
        if decision.verdict == "removed":
            assert applying == {"absent"}
        if decision.verdict == "hidden":
            assert present
            assert decision.use == ("none",)
        assert (decision.at_least == "hidden") == (decision.verdict == "inconclusive" and bool(present))


@pytest.mark.parametrize("channel", CHANNELS)
def test_one_unknown_channel_forbids_removed(channel):
    states = dict.fromkeys(CHANNELS, "absent")
    assert decide(states).verdict == "removed"
    assert decide({**states, channel: "unknown"}).verdict == "inconclusive"
    assert decide({c: s for c, s in states.items() if c != channel}).verdict == "inconclusive"


def test_bare_activations_expose_what_a_linear_reader_finds():
    states = {**dict.fromkeys(CHANNELS, "not_applicable"), "linear": "present", "nonlinear": "absent"}
    assert decide(states, surface="activations").verdict == "exposed"
    assert decide({**states, "linear": "absent", "nonlinear": "present"}, surface="activations").verdict == "hidden"


@pytest.mark.parametrize("inside", [{"nonlinear": "present"}, {"beyond": "present"}, {"nonlinear": "present", "beyond": "present"}])
@pytest.mark.parametrize("linear", [{"linear": "unknown"}, {}, {"linear": "not_applicable"}])
def test_on_bare_activations_an_unknown_linear_state_is_not_hidden(linear, inside):
    others = {c: "not_applicable" for c in CHANNELS if c != "linear"}
    decision = decide({**others, **linear, **inside}, surface="activations")
    assert (decision.verdict, decision.at_least, decision.mechanisms) == (
        "inconclusive",
        "hidden",
        tuple(c for c in CHANNELS if c in inside),
    )
    # Where there are outputs, they are the surface, and what is inside stays hidden.
    assert decide({**others, **linear, **inside}).verdict == "hidden"


def test_bare_activations_total_and_consistent_over_all_states():
    for states in every_state():
        decision = decide(states, surface="activations")
        if decision.verdict == "hidden":
            assert states["linear"] == "absent"
        assert (decision.at_least == "hidden") == (decision.verdict == "inconclusive" and "present" in states.values())
        assert decision.verdict != "removed" or "unknown" not in states.values()


def test_lists_keep_their_order():
    assert CHANNELS == ("linear", "nonlinear", "elsewhere", "beyond", "expressed", "used", "relearned")
    inside = decide(dict.fromkeys(CHANNELS, "present") | {"expressed": "absent", "used": "absent"})
    assert inside.recoverable == ("elsewhere", "relearned", "beyond")
    assert inside.mechanisms == ("linear", "nonlinear", "elsewhere", "relearned", "beyond")
    assert decide(dict.fromkeys(CHANNELS, "absent")).mechanisms == CHANNELS


def test_nothing_measured_is_inconclusive():
    assert decide(dict.fromkeys(CHANNELS, "not_applicable")).verdict == "inconclusive"
    assert decide({}).verdict == "inconclusive"


def test_encoding_words():
    base = dict.fromkeys(CHANNELS, "absent")
    assert decide({**base, "linear": "present"}).encoding == "linear"
    assert decide({**base, "nonlinear": "present"}).encoding == "nonlinear_only"
    assert decide({**base, "linear": "unknown", "nonlinear": "present"}).encoding == "unknown"
    assert decide(base).encoding == "absent"


def test_combine():
    assert combine(["absent", "present", "unknown"]) == "present"
    assert combine(["absent", "not_applicable"]) == "absent"
    assert combine(["absent", "unknown"]) == "unknown"
    assert combine([]) == "not_applicable"


def test_unknown_channel_is_refused():
    with pytest.raises(ValueError, match="unknown channel"):
        decide({"linaer": "absent"})
