"""Change words from published contrasts, and the guard that keeps absence from being claimed of levels taken together."""

from dataclasses import replace

import numpy as np
import pytest
from leak_records import leak_facts

from proxyaudit.channels.leak.estimate import estimate as leak_estimate
from proxyaudit.data.attributes import MAX_LEVELS, Attribute
from proxyaudit.data.columns import OTHER
from proxyaudit.estimates.conclude import TOO_WIDE, conclude, contrasts
from proxyaudit.estimates.facts import Facts, Run
from proxyaudit.estimates.ledger import UNIT_GAP, Draft, Drafts, Ledger, decide_ledger
from proxyaudit.estimates.record import Measurement
from proxyaudit.estimates.scope import Scope
from proxyaudit.recipe.recipe import Margins
from proxyaudit.reporting.first import kept
from proxyaudit.stats.group_gaps import largest_gap
from proxyaudit.stats.intervals import Measured, crossed_interval

SCOPE = Scope("outputs", {"a": "protected"}, ("real", "g"), ("penultimate",), real="real")


def cell(regime, values, state="present", sd=0.004):
    influence = np.where(np.arange(400) % 2, 1, -1) * sd / 20
    measured = Measured(np.asarray(values), influence, np.arange(400))
    shown = {"measured": measured, "interval": crossed_interval(measured), "margin": 0.05, "state": state, "unit": UNIT_GAP}
    return Draft("expressed", "a", regime, context="gap", measure="gap", **shown)


def concluded(*drafts, facts=None):
    ledger = decide_ledger(Drafts(list(drafts)))
    ledger.publish(contrasts(ledger, SCOPE, facts))
    found = conclude(ledger.estimates, ledger.controls, SCOPE)
    return next(f for f in found if f.regime == "g"), ledger


@pytest.mark.parametrize(
    ("mine", "real", "word"),
    [
        ([0.199, 0.200, 0.198], [0.170, 0.171, 0.169], "amplified"),  # surely larger, though its ratio lies within [.8, 1.25]
        ([0.171, 0.169, 0.170], [0.170, 0.171, 0.169], "unchanged"),
        ([0.150, 0.151, 0.149], [0.170, 0.171, 0.169], "unchanged"),  # smaller, but no success to report
        ([0.040, 0.041, 0.039], [0.170, 0.171, 0.169], "reduced"),
        ([0.10, 0.30, 0.17], [0.170, 0.171, 0.169], "unknown"),
        ([-0.170, -0.171, -0.169], [0.170, 0.171, 0.169], "reduced"),  # signed: a gap turned round is not a gap kept
    ],
)
def test_change_words(mine, real, word):
    found, ledger = concluded(cell("real", real), cell("g", mine))
    assert found.change.use == word
    published = {(e.channel, e.measure): e for e in ledger.estimates if e.channel in ("change", "retention")}
    assert set(published) == {("change", "use_difference"), ("retention", "use_ratio")}
    assert published["change", "use_difference"].value == pytest.approx(np.mean(mine) - np.mean(real), abs=1e-6)


@pytest.mark.parametrize(
    ("mine", "real", "suppressed"),
    [
        ([0.3, -0.4, 1.6], [0.170, 0.171, 0.169], True),  # some -6,000 % to 6,000 %
        ([-0.9, 0.8, 0.2], [0.170, 0.171, 0.169], True),
        ([0.040, 0.041, 0.039], [0.170, 0.171, 0.169], False),
        ([0.10, 0.30, 0.17], [0.170, 0.171, 0.169], False),  # wide, but it still says something
        ([0.92, 0.96, 0.98], [0.07, 0.0701, 0.0699], False),  # thirteen times as much, and surely so
    ],
)
def test_a_ratio_whose_interval_says_nothing_is_not_given(mine, real, suppressed):
    found, ledger = concluded(cell("real", real, sd=0.001), cell("g", mine, sd=0.001))
    ratio = next(e for e in ledger.estimates if e.channel == "retention")
    if suppressed:
        assert (ratio.value, ratio.low, ratio.high, ratio.reason) == (None, None, None, TOO_WIDE)
        assert found.change.use == "unknown"
        assert kept(ratio) == "cannot be compared with real"
    else:
        assert ratio.reason is None
        assert ratio.low < ratio.value < ratio.high
        assert ratio.high - ratio.low <= max(3, ratio.value)


def test_noise_is_neither_amplified_nor_reduced():
    found, _ = concluded(cell("real", [0.02, 0.021, 0.019], "unknown"), cell("g", [0.12, 0.121, 0.119], "unknown"))
    assert found.change.use == "unknown"


def facts_of(real, vendor):
    """Facts of two regimes whose models give these mean outputs to group 1; group 0 gets .3."""
    groups = np.arange(400) % 2
    attribute = Attribute("a", "protected", "binary", ("m", "w"), groups)
    wave = np.where(np.arange(400) // 2 % 2, 0.01, -0.01)

    def run(regime, means):
        models = tuple(Measurement(arrays={"outputs": (np.where(groups == 1, mean, 0.3) + wave)[:, None]}) for mean in means)
        return Run(regime, models)

    runs = (run("real", real), run("g", vendor))
    nothing = {"labels_n": groups, "classes": ("no", "yes"), "followed": {}, "sites": (), "verdict_sites": (), "unprofiled": ()}
    facts = Facts((attribute,), np.arange(400), np.arange(400), margins=Margins(), runs=runs, inputs=Measurement(), **nothing)
    drafts = []
    for one in runs:
        found = largest_gap(one.outputs, groups, 2, facts.clusters_n, 0.05, 0.95)
        shown = {name: getattr(found, name) for name in ("measured", "interval", "present_p")}
        extras = {"pair": (found.low, found.high), "column": found.column}
        base = Draft("expressed", "a", one.regime, context="gap", measure="gap", margin=0.05, unit=UNIT_GAP, extras=extras)
        drafts.append(replace(base, **shown))
        scores = Measured(np.array([0.8] * len(one.outputs)), np.zeros(400), np.arange(400))
        drafts.append(Draft("task", "", one.regime, measure="auroc", measured=scores, decides=False))
    return facts, drafts


@pytest.mark.parametrize(("real", "vendor"), [([0.5, 0.51], [0.1, 0.11]), ([0.5], [0.1])])
def test_a_gap_that_turned_its_direction_says_so_in_a_field(real, vendor):
    facts, drafts = facts_of(real, vendor)
    found, ledger = concluded(*drafts, facts=facts)
    turned = next(e for e in ledger.estimates if e.channel == "change")
    assert (turned.measure, turned.value) == ("use_difference_turned", pytest.approx(-0.4, abs=0.02))
    assert found.change.use == "unknown"
    assert "in the opposite direction" in found.sentence
    assert found.retention is None
    silent = [e.model_copy(update={"reason": None, "context": None, "method": ""}) for e in ledger.estimates]
    assert conclude(silent, ledger.controls, SCOPE)[1].sentence == found.sentence


def test_of_single_models_no_difference_is_published():
    facts, drafts = facts_of([0.5], [0.6])
    found, ledger = concluded(*drafts, facts=facts)
    assert not [e for e in ledger.estimates if e.channel in ("change", "retention")]
    assert found.change.use == "unknown"
    facts, drafts = facts_of([0.5, 0.51], [0.6, 0.61])
    assert concluded(*drafts, facts=facts)[0].change.use == "amplified"


@pytest.mark.parametrize(
    ("before", "relayed", "word"), [(0.05, 0.1, "learned"), (0.19, 0.1, "relayed"), (0.05, 0.19, "relayed"), (None, 0.1, "unknown")]
)
@pytest.mark.parametrize("channel", ["linear", "expressed", "expressed, as before prominence was measured"])
def test_origin_is_published_with_what_decides_it(channel, before, relayed, word):
    rng = np.random.default_rng(0)
    channel, _, before_prominence = channel.partition(", ")

    def at(regime, centre, **more):
        measured = Measured(np.array([centre, centre + 0.001]), rng.normal(0, 1e-4, 50), np.arange(50))
        where = {"site": "penultimate", "measure": "leak"} if channel == "linear" else {"measure": "gap"}
        return Draft(channel, "a", regime, **where, **{"measured": measured, "margin": 0.02, "state": "present"} | more)

    ledger = Ledger()
    ledger.publish(Drafts([at("g", 0.2)]))
    if not before_prominence:
        ledger.publish(Drafts([Draft("prominence", "a", "g", "penultimate", measure="units", value=0.1, decides=False)]))
    if before is not None:
        ledger.publish(Drafts([at("untrained", before, decides=False, state=None)]))
    ledger.publish(Drafts([at("placebo", 0.0, measured=None, value=relayed, decides=False, state=None, reference_for="g")]))
    ledger.publish(contrasts(ledger, SCOPE))
    found = conclude(ledger.estimates, (), SCOPE)[1].origin
    if channel == "expressed" and before == 0.05 and not before_prominence:
        word = "learned"  # what other attributes do is no reason to call relayed what the untrained model does not show
    what = "encoding" if channel == "linear" else "use"
    assert getattr(found, what) == word
    lows = {e.measure: e.low for e in ledger.estimates if e.channel == "origin"}
    assert set(lows) <= {f"{what}_above_untrained", f"{what}_above_placebos"}
    beside = [low for name, low in lows.items() if low is not None and (channel == "linear" or before_prominence or "untrained" in name)]
    assert (len(lows) == 2 and min(beside) > 0.02) == (word == "learned")


@pytest.mark.parametrize(("levels", "claimed"), [(5, True), (MAX_LEVELS, False)])
def test_a_run_claims_no_absence_of_levels_that_were_taken_together(levels, claimed):
    names = (*(f"l{k:02d}" for k in range(levels - 1)), OTHER)
    attribute = Attribute("a", "protected", "multiclass", names, np.arange(400) % levels)
    (found,) = [draft for draft in leak_estimate(leak_facts(attribute)).numbers if draft.channel == "nonlinear"]
    assert found.can_be_absent is claimed
    assert claimed or "taken together" in str(found.reason)
