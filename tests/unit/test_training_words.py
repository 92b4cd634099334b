"""What training did, from prominence before and after: ratios on a log scale, words, directions that disagree, placebos."""

from dataclasses import replace

import numpy as np
import pytest

import proxyaudit as pa
from proxyaudit.channels.prominence.estimate import estimate
from proxyaudit.channels.prominence.record import OF_LABEL, PROMINENT, Prominent
from proxyaudit.comparison import compare_packs
from proxyaudit.data.attributes import Attribute
from proxyaudit.errors import InputError
from proxyaudit.estimates.conclude import conclude
from proxyaudit.estimates.facts import Facts, Run
from proxyaudit.estimates.ledger import decide_ledger
from proxyaudit.estimates.record import Measurement
from proxyaudit.estimates.scope import Scope, read_scope
from proxyaudit.recipe.recipe import Margins
from proxyaudit.reporting.comparison import comparison_page
from proxyaudit.reporting.markdown import page_markdown
from proxyaudit.seeding import stream
from proxyaudit.types import Training
from proxyaudit.verification.checks import completeness_problems, finding_problems

N = 400


def sex():
    return Attribute("sex", "protected", "binary", ("f", "m"), np.arange(N) % 2)


def run_of(regime, units, total, *, placebos=(), reference=False, site="penultimate"):
    out = []
    for number, (u, t) in enumerate(zip(units, total, strict=True)):
        noise = stream(number, "influence", regime).normal(size=(2, N)) * 0.002 / N
        record = Prominent(number, N, float(u), float(t), noise[0], noise[1], tuple(placebos))
        one = Measurement()
        PROMINENT.write(one, record, "sex", site)
        OF_LABEL.write(one, record, site)
        out.append(one)
    return Run(regime, tuple(out), is_reference=reference)


BEFORE = np.array([0.020, 0.021, 0.0195])


def concluded(*runs, regimes=("real",)):
    facts = Facts((sex(),), np.arange(N), np.arange(N), ("penultimate",), ("penultimate",), Margins(), runs)
    scope = Scope("outputs", {"sex": "protected"}, regimes, ("penultimate",), ("penultimate",), "real", untrained="untrained")
    ledger = decide_ledger(estimate(facts), roles=scope.roles)
    numbers = {e.id: e for e in ledger.estimates}
    return {f.regime: f.training for f in conclude(ledger.estimates, ledger.controls, scope)}, numbers


@pytest.mark.parametrize(
    ("times", "total", "word"),
    [(3.0, 2.0, "amplified"), (0.3, 0.5, "suppressed"), (1.0, 1.05, "left_alone"), (3.0, 0.5, "unknown"), (0.3, 2.0, "unknown")],
)
def test_words_follow_the_gain_and_claim_nothing_where_the_shares_disagree(times, total, word):
    found, numbers = concluded(run_of("real", times * BEFORE, total * BEFORE), run_of("untrained", BEFORE, BEFORE, reference=True))
    assert found["real"].word == word
    assert numbers[found["real"].gain].value == pytest.approx(np.log(times), abs=0.001)  # half of the grid


def test_left_alone_is_not_said_where_the_other_share_surely_moved():
    found, _ = concluded(run_of("real", BEFORE, 4 * BEFORE), run_of("untrained", BEFORE, BEFORE, reference=True))
    assert found["real"].word == "unknown"


def test_what_is_nowhere_surely_is_not_present_and_without_a_network_before_nothing_is_said():
    nothing = np.array([0.0004, -0.0005, 0.0002])
    found, _ = concluded(run_of("real", -nothing, nothing), run_of("untrained", nothing, nothing, reference=True))
    assert found["real"].word == "not_present"
    alone, _ = concluded(run_of("real", 3 * BEFORE, BEFORE))
    assert (alone["real"].word, alone["real"].gain) == ("unknown", None)


def test_a_model_that_failed_leaves_the_others_paired():
    before = np.array([0.010, 0.013, 0.016, 0.019, 0.022])
    untrained, real = run_of("untrained", before, before, reference=True), run_of("real", 3 * before, 2 * before)
    lost = Run("real", real.measured[1:])
    found, numbers = concluded(lost, untrained)
    assert numbers[found["real"].gain].value == pytest.approx(np.log(3), abs=0.001)
    assert found["real"].word == "amplified"


def test_what_was_there_and_is_gone_is_suppressed_and_what_came_from_nothing_amplified():
    nothing = np.array([-0.0004, 0.0006, 0.0001])
    gone, _ = concluded(run_of("real", nothing, nothing), run_of("untrained", 3 * BEFORE, BEFORE, reference=True))
    come, _ = concluded(run_of("real", 3 * BEFORE, BEFORE), run_of("untrained", nothing, nothing, reference=True))
    assert (gone["real"].word, come["real"].word) == ("suppressed", "amplified")


def test_singled_out_is_more_than_nineteen_in_twenty_placebos_gain():
    placebos = np.linspace(0.02, 0.06, 40)
    for times, singled in ((2.0, False), (3.5, True)):
        real = run_of("real", times * BEFORE, 2 * BEFORE, placebos=placebos)
        found, _ = concluded(real, run_of("untrained", BEFORE, BEFORE, placebos=[0.02] * 40, reference=True))
        assert (found["real"].word, found["real"].singled_out) == ("amplified", singled)
    few = run_of("real", 3 * BEFORE, 2 * BEFORE, placebos=placebos[:19])
    found, numbers = concluded(few, run_of("untrained", BEFORE, BEFORE, placebos=[0.02] * 19, reference=True))
    assert found["real"].singled_out is None
    assert any("19 placebos" in (e.reason or "") for e in numbers.values())


def test_what_is_kept_of_what_real_training_added():
    runs = [run_of("real", 4 * BEFORE, 2 * BEFORE), run_of("copula", 2.5 * BEFORE, 2 * BEFORE)]
    runs.append(run_of("untrained", BEFORE, BEFORE, reference=True))
    found, numbers = concluded(*runs, regimes=("real", "copula"))
    kept = numbers[found["copula"].kept_of_real]
    assert (kept.measure, kept.value) == ("kept_of_added", pytest.approx(0.5, rel=1e-4))
    assert found["real"].kept_of_real is None
    # Real training added nothing: the plain ratio.
    runs[0] = run_of("real", BEFORE, 2 * BEFORE)
    found, numbers = concluded(*runs, regimes=("real", "copula"))
    assert (numbers[found["copula"].kept_of_real].measure, numbers[found["copula"].kept_of_real].value) == (
        "ratio_to_real",
        pytest.approx(2.5, rel=1e-4),
    )


def test_activations_are_compared_with_those_before_training_and_of_real_training():
    rng, labels = stream(5, "probe"), np.arange(N) % 2
    noise = rng.normal(size=(N, 6))
    acts = {
        name: {"l": (noise + size * np.outer(labels, np.ones(6))).astype(np.float32)} for name, size in (("before", 0.3), ("real", 1.0))
    }
    acts["ours"] = {"l": acts["before"]["l"][:, ::-1].copy()}
    audit = pa.probe(acts, {"sex": labels}, attributes="sex", real="real", untrained="before", jobs=1)
    evidence = audit.pack.evidence
    words = {f.regime: f.training for f in evidence.findings}
    assert words["before"] is None
    assert words["real"].word == "amplified"
    assert words["ours"].word == "left_alone"
    kept = next(e for e in evidence.estimates if e.id == words["ours"].kept_of_real)
    assert (kept.measure, round(kept.value or 0.0, 2)) == ("kept_of_added", 0.0)


def test_the_network_before_training_is_one_that_was_given_and_not_the_real_one():
    acts = {name: {"l": np.zeros((N, 2))} for name in ("a", "b")}
    for options in ({"untrained": "c"}, {"untrained": "a", "real": "a"}):
        with pytest.raises(InputError):
            pa.probe(acts, {"sex": np.arange(N) % 2}, attributes="sex", jobs=1, **options)


def test_the_sentence_leads_with_what_training_did_and_how_much():
    for times, total, start in (
        (3.0, 2.0, "Training on 'real' made 'sex' more prominent (3.0 times the untrained network, "),
        (0.3, 0.5, "Training on 'real' made 'sex' less prominent (0.30 times the untrained network, "),
        (1.0, 1.05, "Training on 'real' left 'sex' as prominent as it was (1.0 times the untrained network, "),
    ):
        runs = (run_of("real", times * BEFORE, total * BEFORE), run_of("untrained", BEFORE, BEFORE, reference=True))
        assert sentence_of(*runs).startswith(start)
    nothing = np.array([0.0004, -0.0005, 0.0002])
    runs = (run_of("real", -nothing, nothing), run_of("untrained", nothing, nothing, reference=True))
    assert sentence_of(*runs).startswith("'sex' explains nothing of what varies inside, before training on 'real' or after.")
    # Without a network before training nothing is said of it.
    assert "raining" not in sentence_of(run_of("real", 3 * BEFORE, BEFORE))


def sentence_of(*runs):
    facts = Facts((sex(),), np.arange(N), np.arange(N), ("penultimate",), ("penultimate",), Margins(), runs)
    scope = Scope("outputs", {"sex": "protected"}, ("real",), ("penultimate",), ("penultimate",), "real", untrained="untrained")
    ledger = decide_ledger(estimate(facts), roles=scope.roles)
    return conclude(ledger.estimates, ledger.controls, scope)[0].sentence


def test_two_versions_are_compared_in_prominence_on_the_same_rows():
    rng, labels = stream(6, "versions"), np.arange(N) % 2
    noise = rng.normal(size=(N, 6))
    acts = {size: (noise + size * np.outer(labels, np.ones(6))).astype(np.float32) for size in (0.5, 0.7)}
    packs = [pa.probe({"m": {"l": acts[size]}}, {"sex": labels}, attributes="sex", jobs=1).pack for size in (0.5, 0.7, 0.7)]
    (grown,), (same,) = (compare_packs(*pair).prominence for pair in (packs[:2], packs[1:]))
    assert (grown.word, same.word) == ("more", "unchanged")
    assert grown.low is not None
    assert grown.low > 0
    assert grown.text.startswith("'sex' in m: more prominent, ")
    # Paired on the same rows: without the row sums that their auditor keeps the same difference is less sure.
    apart = compare_packs(*(replace(pack, row_sums={}) for pack in packs[:2])).prominence[0]
    assert (grown.high or 0) - grown.low < ((apart.high or 0) - (apart.low or 0)) / 1.5
    assert grown.text in page_markdown(comparison_page(compare_packs(*packs[:2]))).replace("\\", "")


def test_a_word_that_its_numbers_do_not_give_is_found():
    rng, labels = stream(7, "tampered"), np.arange(N) % 2
    noise = rng.normal(size=(N, 6))
    acts = {
        name: {"l": (noise + size * np.outer(labels, np.ones(6))).astype(np.float32)} for name, size in (("before", 0.3), ("ours", 1.0))
    }
    pack = pa.probe(acts, {"sex": labels}, attributes="sex", untrained="before", jobs=1).pack
    scope = read_scope(pack.plan, pack.recipe, pack.environment)
    assert not [*finding_problems(pack, scope), *completeness_problems(pack, scope)]
    for training in (Training(word="left_alone"), None):
        findings = tuple(f.model_copy(update={"training": training}) if f.regime == "ours" else f for f in pack.evidence.findings)
        altered = replace(pack, evidence=pack.evidence.model_copy(update={"findings": findings}))
        assert any("training" in line for line in finding_problems(altered, scope))
    # Without any number of it, what training did is missed.
    numbers = tuple(e for e in pack.evidence.estimates if e.channel != "prominence")
    empty = replace(altered, evidence=altered.evidence.model_copy(update={"estimates": numbers}))
    assert any("what training did is missing" in line for line in completeness_problems(empty, scope))
