"""What of one run is what of the other: sites by name or by role, regimes as they are called or as the user says."""

from __future__ import annotations

import pytest

from proxyaudit.comparison import match_regimes
from proxyaudit.comparison.matching import Sites, match_sites, paired_by_changes
from proxyaudit.errors import InputError
from tests.unit.small_packs import finding, small_pack


def test_sites_match_by_name_and_else_by_role():
    a = Sites(("penultimate",), ("hidden1", "hidden2", "hidden3", "penultimate"))
    assert match_sites(a, a) == {site: (site, "name") for site in a.profile}
    b = Sites(("pooled",), ("stem", "body", "pooled"))
    assert match_sites(a, b) == {"pooled": ("penultimate", "role"), "stem": ("hidden1", "role"), "body": ("hidden2", "role")}
    two = Sites(("left", "right"), ("stem", "left", "right"))
    assert match_sites(two, Sites(("x", "y"), ("x", "y"))) == {"x": ("left", "role"), "y": ("right", "role")}
    assert match_sites(Sites(("penultimate",), ("penultimate",)), b) == {"pooled": ("penultimate", "role")}
    # A name with another role is another site.
    assert match_sites(Sites(("penultimate",), ("block", "penultimate")), Sites(("block",), ("block",)))["block"] == ("penultimate", "role")


def packs(first: list[str], second: list[str]):
    return (small_pack([], [finding("exposed", regime=name) for name in names]) for names in (first, second))


def test_regimes_match_by_name_and_the_one_left_in_each():
    assert match_regimes(*packs(["real", "a"], ["a", "real"])) == ((("real", "real"), ("a", "a")), ())
    assert match_regimes(*packs(["real", "a"], ["real", "b"])) == ((("real", "real"), ("a", "b")), ())
    assert match_regimes(*packs(["old"], ["new"])) == ((("old", "new"),), ())
    assert match_regimes(*packs(["real", "a", "b"], ["real"])) == ((("real", "real"),), ("a", "b"))
    assert match_regimes(*packs(["real", "a"], ["real", "a"]), ["real=a", "a"]) == ((("real", "a"), ("a", "a")), ())


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (["a=c"], "run B has no regime 'c'"),
        (["rael"], "run A has no regime 'rael' [--regime rael]; did you mean 'real'?"),
        (["a", "a=a"], "given twice"),
        ([], "no regime is in both runs"),
    ],
)
def test_regimes_that_do_not_match_are_one_clear_line(wanted, words):
    a, b = packs(["real", "a"], ["real", "a"] if wanted else ["x", "y"])
    with pytest.raises(InputError, match=words.replace("[", r"\[").replace("?", r"\?")):
        match_regimes(a, b, wanted)


def sites(*names, bare=True):
    return Sites(names, names, not bare)


def test_sites_of_bare_activations_have_no_order_and_none_is_taken_twice():
    found = match_sites(sites("layer10", "layer9"), sites("layer10", "layer09"))
    assert found == {"layer10": ("layer10", "name"), "layer09": ("layer9", "role")}
    assert match_sites(sites("x1", "x2"), sites("a", "b")) == {}
    assert match_sites(sites("a", "b", bare=False), sites("a", "c", "b", bare=False))["c"][1] == "role"


def test_what_a_recorded_change_made_belongs_to_what_it_was_made_of():
    a, b = packs(["real", "vendor"], ["vendor-mitigated"])
    change = {"change": {"regime": "vendor", "changed_regime": "vendor-mitigated"}, "source": {"run_id": a.evidence.run.id}}
    assert paired_by_changes(a, b, [change]) == ("vendor=vendor-mitigated",)
    assert match_regimes(a, b, paired_by_changes(a, b, [change])) == ((("vendor", "vendor-mitigated"),), ())
    assert paired_by_changes(a, b, [change | {"source": {"run_id": "another"}}]) == ()
    assert paired_by_changes(a, b, []) == ()
