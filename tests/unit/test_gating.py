"""A run held against a policy: verdicts, margins, controls, baselines; policies that are wrong; JUnit."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from proxyaudit.errors import InputError
from proxyaudit.gating.decide import gate
from proxyaudit.gating.junit import junit, refused_junit
from proxyaudit.gating.policy import Policy, load_policy, parse_policy
from proxyaudit.types import Control, Training
from tests.unit.small_packs import MARGINS, estimate, finding, small_pack

NUMBERS = [estimate("linear", 0.001, "absent"), estimate("used", 0.001, "absent"), estimate("expressed", 0.01, "absent")]


def decided(policy: dict, *findings, read=None, **more):
    return gate(small_pack(NUMBERS, list(findings), **more), parse_policy(policy) if policy else Policy(), read)


@pytest.mark.parametrize(
    ("policy", "verdict", "at_least", "code"),
    [
        ({}, "removed", None, 0),
        ({}, "hidden", None, 1),
        ({}, "exposed", None, 1),
        ({}, "inconclusive", None, 3),
        ({}, "inconclusive", "hidden", 1),  # hidden or exposed, and neither is allowed
        ({"allow": ["removed", "hidden"]}, "hidden", None, 0),
        ({"allow": ["removed", "hidden"]}, "inconclusive", "hidden", 3),
        ({"allow": ["removed", "hidden"]}, "exposed", None, 1),
        ({"allow": "hidden"}, "removed", None, 1),
        ({"allow": ["hidden", "exposed"]}, "inconclusive", "hidden", 0),  # whichever it is
        ({"inconclusive": "fail"}, "inconclusive", None, 1),
        ({"inconclusive": "allow"}, "inconclusive", None, 0),
        ({"inconclusive": "allow"}, "inconclusive", "hidden", 1),  # certainly not what is allowed
        ({"inconclusive": "allow", "allow": ["removed", "hidden"]}, "inconclusive", "hidden", 0),
        ({"rules": [{"attributes": "sex", "allow": ["exposed"]}]}, "exposed", None, 0),
        ({"rules": [{"regimes": ["model"], "inconclusive": "fail"}]}, "inconclusive", None, 1),
        ({"rules": [{"allow": ["exposed"]}, {"attributes": ["sex"], "allow": ["removed"]}]}, "exposed", None, 1),
    ],
)
def test_verdicts_against_a_policy(policy, verdict, at_least, code):
    assert decided(policy, finding(verdict, at_least)).exit_code == code


@pytest.mark.parametrize("policy", [{}, {"allow": ["removed", "exposed"]}, {"attributes": ["sex"]}])
@pytest.mark.parametrize("verdict", ["exposed", "removed"])
def test_real_alone_is_judged_and_a_note_says_that_synthetic_data_were_not(policy, verdict):
    result = decided(policy, finding(verdict, regime="real"))
    assert [case.regime for case in result.cases] == ["real"]
    assert any("the run holds models of real rows alone" in note and "nothing of synthetic data" in note for note in result.notes)
    for asked in ({"regimes": ["real"]}, {"regimes": "all"}):
        assert decided({**policy, **asked}, finding(verdict, regime="real")).notes == (), "who names it knows"
    assert not any("alone" in note for note in decided(policy, finding(verdict), finding(verdict, regime="real")).notes)


def test_what_is_judged_by_default_and_what_when_asked():
    findings = (
        finding("removed"),
        finding("exposed", regime="real"),
        finding("exposed", attribute="zip", role="proxy"),
        finding("removed", attribute="age"),
    )
    result = decided({}, *findings)
    assert [(c.attribute, c.regime) for c in result.cases if c.verdict != "missing"] == [("sex", "model"), ("age", "model")]
    assert len(result.notes) == 2
    assert result.exit_code == 0
    assert decided({"regimes": "all"}, *findings).exit_code == 1
    assert decided({"attributes": "all"}, *findings).exit_code == 1
    assert decided({"attributes": ["age"], "regimes": ["model"]}, *findings).exit_code == 0
    assert decided({}, finding("exposed", regime="real")).exit_code == 1  # the only regime there is
    assert decided({}, finding("exposed", attribute="zip", role="proxy")).exit_code == 1  # the only attribute there is


def test_the_regime_that_a_probe_compared_with_is_judged_unless_it_is_called_real():
    """Whoever ran the probe chose what to compare with: it may be the very regime that is exposed."""
    for name, own in (("ours", 1), ("vendor", 1), ("real", 0)):
        pack = small_pack(NUMBERS, [finding("exposed", regime=name), finding("removed", regime="other")], kind="activations")
        assert gate(replace(pack, recipe={"real": name}), Policy()).exit_code == own
        assert gate(pack, Policy()).exit_code == 1
        assert gate(replace(pack, recipe={"real": name}), parse_policy({"regimes": ["other"]})).exit_code == 0


def test_an_attribute_without_a_finding_in_a_regime_is_undecided():
    result = decided({}, finding("removed"), finding("removed", attribute="age", regime="other"))
    assert {(c.attribute, c.regime, c.outcome) for c in result.cases} >= {("sex", "other", "undecided"), ("age", "model", "undecided")}
    assert result.exit_code == 3


@pytest.mark.parametrize(
    ("margins", "verdict", "code"),
    [
        ({"leak": 0.02, "gap": 0.05}, "removed", 0),
        ({"leak": 0.01}, "removed", 3),  # the run looked less closely than the policy asks
        ({"leak": 0.01}, "exposed", 1),  # and what it found at the laxer margin is there at the stricter one
        ({"leak": 0.05}, "removed", 0),
    ],
)
def test_a_run_at_laxer_margins_cannot_pass(margins, verdict, code):
    assert decided({"margins": margins}, finding(verdict)).exit_code == code


def test_margins_of_channels_that_bare_activations_lack_are_not_asked():
    bare = {"margins": {"leak": 0.02, "nonlinear": 0.1}, "kind": "activations"}
    assert decided({"margins": {"gap": 0.01}}, finding("removed"), **bare).exit_code == 0
    assert decided({"margins": {"leak": 0.01}}, finding("removed"), **bare).exit_code == 3
    assert decided({"margins": {"gap": 0.01}}, finding("removed"), margins={"leak": 0.02}).exit_code == 3  # a model run must say it


def control(kind, channel, passed, site="penultimate", attribute="sex"):
    return Control(id="C1", kind=kind, channel=channel, attribute=attribute, regime="model", site=site, passed=passed, detail="found 40%")


@pytest.mark.parametrize(
    ("verdict", "failed", "code"),
    [
        ("removed", control("positive", "linear", False), 3),
        ("removed", control("positive", "linear", True), 0),
        ("removed", control("negative", "linear", False), 0),  # a false alarm of the instrument cancels presence, not absence
        ("removed", control("random_subspace", "used", False), 0),
        ("hidden", control("positive", "used", False), 3),
        ("hidden", control("positive", "linear", False), 0),  # its presence rests on no control of absence
        ("hidden", control("negative", "nonlinear", False), 3),
        ("exposed", control("positive", "linear", False), 1),
        ("removed", control("repetition", "task", False, attribute=None), 3),
        ("exposed", control("repetition", "task", False, attribute=None), 1),
    ],
)
def test_an_allowed_verdict_must_rest_on_sound_controls(verdict, failed, code):
    numbers = [*NUMBERS[:3], estimate("nonlinear", 0.3, "present")] if verdict == "hidden" else NUMBERS
    pack = small_pack(numbers, [finding(verdict, decided_by=("E4",))], controls=(failed,))
    allow = ["removed", "hidden"]
    assert gate(pack, parse_policy({"allow": allow})).exit_code == code


def test_a_partial_run_comes_before_everything_but_integrity():
    assert decided({}, finding("exposed"), status="partial").exit_code == 5
    assert decided({}, finding("removed"), status="partial").outcome == "partial"


def test_fail_comes_before_undecided():
    assert decided({}, finding("inconclusive"), finding("exposed", attribute="age")).exit_code == 1


# Baseline ----------------------------------------------------------------------------------------------------------


def against(policy: dict, before: float, after: float, *, verdict="exposed", attribute="sex", allow=("exposed",)):
    state = {True: "present", False: "absent"}
    old, new = (
        small_pack([estimate("linear", v, state[v > 0.02])], [finding(verdict)], digest=str(v), rows=str(v)) for v in (before, after)
    )
    asked = []

    def read(name):
        asked.append(name)
        return old

    result = gate(new, parse_policy({"allow": list(allow), **policy}), read)
    assert asked == ["last"]
    return result.exit_code


@pytest.mark.parametrize(
    ("baseline", "after", "code"),
    [
        ("last", 0.3, 1),
        ("last", 0.1, 0),
        ("last", 0.05, 0),
        ({"run": "last", "worse": "allow"}, 0.3, 0),
        ({"run": "last", "allow": ["sex"]}, 0.3, 0),
        ({"run": "last", "regimes": {"model": "model"}}, 0.3, 1),
    ],
)
def test_regressions_against_a_baseline(baseline, after, code):
    assert against({"baseline": baseline}, 0.1, after) == code


@pytest.mark.parametrize(("treatment", "code"), [("undecided", 3), ("fail", 1), ("allow", 0)])
def test_what_cannot_be_compared_with_the_baseline(treatment, code):
    old = small_pack([estimate("linear", 0.1, "present")], [finding("exposed"), finding("exposed", attribute="age")])
    new = small_pack([estimate("linear", 0.1, "present")], [finding("exposed"), finding("exposed", attribute="new")], digest="e" * 64)
    policy = parse_policy({"allow": ["exposed"], "baseline": {"run": "last", "cannot_tell": treatment}})
    result = gate(new, policy, lambda _: old)
    assert {c.attribute for c in result.cases if c.kind == "baseline"} == {"sex", "new", "age"}  # what was dropped too
    assert result.exit_code == code


# Wrong policies ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({"alow": ["removed"]}, "unknown key 'alow' [policy: alow]; did you mean 'allow'?"),
        ({"rules": [{"atributes": ["sex"], "allow": []}]}, "did you mean 'attributes'?"),
        ({"baseline": {"run": "x", "worst": "fail"}}, "did you mean 'worse'?"),
        ({"margins": {"leek": 0.1}}, "did you mean 'leak'?"),
        ({"allow": ["hiden"]}, "unknown word 'hiden' [policy: allow.0]; did you mean 'hidden'?"),
        ({"allow": ["inconclusive"]}, "one of removed, hidden, exposed"),
        ({"inconclusive": "maybe"}, "one of undecided, fail, allow"),
        ({"margins": {"leak": 0}}, "greater than 0"),
        ({"margins": {"leak": "much"}}, "given: 'much'"),
        ({"attributes": {"sex": 1}}, "should be a list"),
        ({"attributes": [""]}, "should not be empty"),
        ({"rules": [{"attributes": ["sex"]}]}, "the rule changes nothing"),
        ({"baseline": {"worse": "fail"}}, "key 'run' is missing"),
        ([], "not a mapping"),
        ("removed", "not a mapping"),
        (None, "the policy is empty"),
    ],
)
def test_a_wrong_policy_is_one_line_that_says_how_to_mend_it(policy, words):
    with pytest.raises(InputError) as caught:
        parse_policy(policy)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "; " in str(caught.value)


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({"attributes": ["sx"]}, "the run has no attribute 'sx' [policy: attributes]; did you mean 'sex'?"),
        ({"regimes": ["vendor"]}, "the run has no regime 'vendor' [policy: regimes]; it has model"),
        ({"rules": [{"attributes": ["age"], "allow": ["hidden"]}]}, "the run has no attribute 'age' [policy: rules.0.attributes]"),
        ({"rules": [{"regimes": ["modl"], "allow": ["hidden"]}]}, "did you mean 'model'?"),
    ],
)
def test_a_policy_about_something_else_is_bad_input(policy, words):
    with pytest.raises(InputError) as caught:
        decided(policy, finding("removed"))
    assert words in str(caught.value)


def test_files(tmp_path):
    good = tmp_path / "policy.yaml"
    good.write_text("allow: [removed, hidden]\nmargins: {leak: 0.02}\nbaseline: ../last\n")
    policy = load_policy(good)
    assert policy.allow == ("removed", "hidden")
    assert policy.baseline is not None
    assert policy.baseline.run == "../last"
    with pytest.raises(InputError, match="leave --policy out"):
        load_policy(tmp_path / "none.yaml")


# JUnit -------------------------------------------------------------------------------------------------------------


def test_junit_says_the_same_as_the_exit_code():
    findings = [finding("removed"), finding("exposed", attribute="age"), finding("inconclusive", attribute="race")]
    root = ElementTree.fromstring(junit(decided({}, *findings)))
    suite = root.find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "1")
    found = {case.get("name"): [child.tag for child in case] for case in suite}
    assert found == {"sex": ["system-out"], "age": ["failure"], "race": ["error"]}
    assert {case.get("classname") for case in suite} == {"small.model"}
    partial = ElementTree.fromstring(junit(decided({}, finding("removed"), status="partial")))
    assert partial.get("errors") == "1"
    broken = ElementTree.fromstring(refused_junit("run", "integrity", "evidence.json does not match its hash"))
    assert broken.find("testsuite/testcase/error").get("message") == "evidence.json does not match its hash"


def test_the_default_margins_of_these_packs_are_the_defaults():
    from proxyaudit.recipe.recipe import Margins

    assert Margins().model_dump() == MARGINS


def test_a_run_at_laxer_margins_than_a_recipe_has_by_itself_does_not_pass_by_default():
    lax = small_pack([estimate("linear", 0.3, "absent")], [finding("removed")])
    lax = replace(lax, plan={**lax.plan, "margins": {**lax.plan["margins"], "leak": 0.9}})
    assert gate(lax, parse_policy({"allow": ["removed"]})).exit_code == 3
    assert gate(lax, parse_policy({"allow": ["removed"], "margins": {"leak": 0.9}})).exit_code == 0


def test_a_probe_that_names_no_real_regime_has_none_to_leave_out():
    findings = [finding("exposed", regime="real"), finding("removed", regime="vendor")]
    bare = small_pack([estimate("linear", 0.3, "present", regime="real")], findings, kind="activations")
    assert gate(bare, Policy()).exit_code == 1
    named = replace(bare, recipe={**bare.recipe, "real": "real"})
    assert {case.regime for case in gate(named, Policy()).cases} == {"vendor"}


def test_a_run_that_is_its_own_baseline_is_told():
    own = small_pack(NUMBERS, [finding("removed")])
    result = gate(own, parse_policy({"baseline": "same"}), lambda _: own)
    assert any("this very run" in note for note in result.notes)


@pytest.mark.parametrize("key", ["baseline", "attributes", "allow", "margins"])
def test_a_blank_key_does_not_pass_for_one_left_out(key):
    with pytest.raises(InputError, match=f"'{key}' is blank"):
        parse_policy({key: None})


@pytest.mark.parametrize(
    ("policy", "word", "code"),
    [
        ({}, "amplified", 0),
        ({"training": ["suppressed", "left_alone"]}, "amplified", 1),
        ({"training": ["suppressed", "left_alone"]}, "left_alone", 0),
        ({"training": "suppressed"}, "left_alone", 1),
        ({"training": "suppressed"}, "not_present", 0),  # less than any word allows
        ({"training": "suppressed"}, "unknown", 3),
        ({"training": "suppressed", "inconclusive": "fail"}, "unknown", 1),
        ({"training": "suppressed"}, None, 3),  # an earlier version did not measure it
        ({"rules": [{"attributes": "sex", "training": ["suppressed"]}]}, "amplified", 1),
        ({"training": "suppressed", "rules": [{"regimes": ["model"], "training": ["amplified"]}]}, "amplified", 0),
    ],
)
def test_what_training_did_against_a_policy(policy, word, code):
    trained = finding("removed", training=None if word is None else Training(word=word))
    result = decided(policy, trained)
    assert result.exit_code == code
    assert [c.verdict for c in result.cases if c.kind == "training"] == ([] if not policy else [word or "unknown"])
    if code == 1:
        assert b"what training did to sex" in junit(result)
