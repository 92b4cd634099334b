"""Ways around a gate: names that look alike, what a policy does not ask, an older run, another run than the one that was meant."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
from released_packs import bytes_only
from small_project import RECIPE, project

from proxyaudit.audits.probe.inputs import check_regimes
from proxyaudit.cli.main import main
from proxyaudit.errors import InputError
from proxyaudit.evidence.pack import find_run, write_pack
from proxyaudit.gating.decide import gate
from proxyaudit.gating.junit import junit
from proxyaudit.gating.policy import Policy, parse_policy
from proxyaudit.names import check_names, check_regime_names, doubt, twins
from tests.unit.small_packs import estimate, finding, small_pack

NUMBERS = [estimate("linear", 0.001, "absent"), estimate("expressed", 0.01, "absent")]
SOUND = small_pack(NUMBERS, [finding("removed")])
DOUBTFUL = (
    "r\u0430ce",
    "race\u200b",
    "ra\u00adce",
    "\u202erace",
    "ra\u2060ce",
    "race\u3164",
    "\uff52ace",
    "r\u03b1ce",
    "race\ufe0f",
    "a\x00",
    "gr\U0001042cup",
    "\ua4e2\ua4f0\ua4eb",
    "\u13a1\u13aa\u13df\u13ac",
    "\u2ca4\u2c9e\u2ca4",
    "income\u0661",
)
CYRILLIC, CAPITALS = "\u0441\u043e\u0441\u043e", "\u0420\u0410\u0421\u0415"
HONEST = (
    "race",
    "sex of person",
    "Zürich",
    CYRILLIC,
    "φύλο",
    "性別",
    "年齢 age",
    "학력",
    "جنس",
    "\u00b5g",
    "a-b_c.d",
    "Größe (cm)",
    "x²",
    "🙂",
    "コーヒー",
    "佐々木",
    "\u02bbokina",
    "उम्र१",
    "ລາຍໄດ້",
)
TWINS = ((CYRILLIC, "coco"), (CAPITALS, "PACE"), ("Sex", "sex"), ("café", "cafe\u0301"), ("\ufb01eld", "field"), ("a b", "a  b"))
TWINS += (("male", "rnale"), ("vvage", "wage"), ("US", "\u054d\u054f"))
TWINS += (("race", "r\u0251ce"), ("age", "a\u0261e"), ("\u1d20endor", "vendor"), ("sexl", "sexI"), ("group 0", "group O"), ("v1", "vl"))


@pytest.mark.parametrize("name", DOUBTFUL)
def test_a_name_of_two_scripts_or_with_what_nobody_sees_is_refused(name: str) -> None:
    assert doubt(name)
    for what in ("attributes", "regimes"):
        with pytest.raises(InputError, match="of one script"):
            parse_policy({what: [name]})
        with pytest.raises(InputError, match="of one script"):
            parse_policy({"rules": [{what: name, "allow": ["removed"]}]})
    with pytest.raises(InputError):
        parse_policy({"baseline": {"run": "x", "allow": [name]}})


@pytest.mark.parametrize("name", HONEST)
def test_names_as_people_write_them_are_taken(name: str) -> None:
    assert doubt(name) is None
    assert parse_policy({"attributes": [name]}).attributes == (name,)


@pytest.mark.parametrize("pair", TWINS)
def test_two_names_that_look_alike_are_refused(pair: tuple[str, str]) -> None:
    assert twins(pair) == pair
    with pytest.raises(InputError, match="looks like"):
        check_names(pair, "attribute", "here")


def test_columns_beside_attributes_differ_in_more_than_looks() -> None:
    check_names(["sex"], "attribute", "here", ["sex", "Sex", "SEX", "age"])
    with pytest.raises(InputError, match="'sex' looks like 's\u0435x'"):
        check_names(["sex"], "attribute", "here", ["sex", "s\u0435x"])


@pytest.mark.parametrize(("column", "words"), [("s\u0435x", "looks like"), ("sex\u200b", "looks like"), ("s\u0435\u0445", "looks like")])
def test_a_table_cannot_hold_a_twin_of_an_attribute(column: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = project(tmp_path, RECIPE)
    table = pd.read_csv(tmp_path / "real.csv")
    table.assign(**{column: table["sex"]}).to_csv(tmp_path / "real.csv", index=False)
    assert main(["plan", str(recipe)]) == 2
    assert words in capsys.readouterr().err
    assert main(["plan", str(recipe), "--set", f"data.protected=[{column}]"]) == 2


@pytest.mark.parametrize("name", DOUBTFUL)
@pytest.mark.parametrize("where", ["attribute", "regime"])
def test_a_run_with_a_doubtful_name_passes_no_gate(name: str, where: str) -> None:
    """Made by another program, or an older version: what it says of a name may be about another one."""
    pack = small_pack(NUMBERS, [finding("removed"), finding("removed", **{where: name})])
    result = gate(pack, parse_policy({"attributes": "sex", "regimes": "model"}))
    assert (result.exit_code, result.cases[0].kind, result.cases[0].outcome) == (3, "name", "undecided")
    assert any(left.attribute == name or left.regime == name for left in result.not_judged)


@pytest.mark.parametrize("pair", TWINS)
def test_a_run_with_twins_passes_no_gate(pair: tuple[str, str]) -> None:
    pack = small_pack(NUMBERS, [finding("removed", attribute=pair[0]), finding("exposed", attribute=pair[1])])
    assert gate(pack, parse_policy({"attributes": pair[0]})).exit_code == 3


# What is not judged ------------------------------------------------------------------------------------------------


def test_what_a_policy_leaves_unjudged_is_listed_everywhere() -> None:
    pack = small_pack(
        NUMBERS,
        [
            finding("removed"),
            finding("exposed", attribute="age"),
            finding("hidden", attribute="zip", role="proxy"),
            finding("exposed", regime="vendor-b"),
            finding("exposed", regime="real"),
        ],
    )
    result = gate(pack, parse_policy({"attributes": "sex", "regimes": "model"}))
    assert result.exit_code == 0
    assert {(left.attribute, left.regime, left.verdict) for left in result.not_judged} == {
        ("age", "model", "exposed"),
        ("zip", "model", "hidden"),
        ("sex", "vendor-b", "exposed"),
        ("sex", "real", "exposed"),
    }
    told = " ".join(result.notes)
    assert "protected attributes that were not judged: age (exposed)" in told
    assert "proxies that were not judged: zip (hidden)" in told
    assert "regimes that were not judged: vendor-b (exposed), real (exposed)" in told
    suite = ElementTree.fromstring(junit(result))
    assert suite.get("skipped") == "4"
    assert not gate(pack, parse_policy({"attributes": "all", "regimes": "all"})).not_judged


@pytest.mark.parametrize(
    ("names", "real"), [(("real", "vendor"), "vendor"), (("Real", "vendor"), None), (("r\u0435al", "b"), None), (("rea1", "b"), None)]
)
def test_no_regime_passes_for_the_real_one(names: tuple[str, ...], real: str | None) -> None:
    with pytest.raises(InputError, match="compared with"):
        check_regime_names(names, real, "here")


def test_a_vendor_named_as_what_the_others_are_compared_with_is_judged() -> None:
    acts = {name: {"site": pd.DataFrame({"a": range(150), "b": range(150, 0, -1)}).to_numpy(float)} for name in ("vendor", "other")}
    assert list(check_regimes(acts, 150, "vendor")) == ["vendor", "other"]
    pack = small_pack(NUMBERS, [finding("exposed", regime="vendor"), finding("removed", regime="other")], kind="activations")
    assert gate(replace(pack, recipe={"real": "vendor"}), Policy()).exit_code == 1
    prompts = small_pack(NUMBERS, [finding("exposed", regime="vendor"), finding("removed", regime="other")], kind="prompts")
    assert gate(replace(prompts, recipe={"real": "vendor"}), Policy()).exit_code == 1


# The very run ------------------------------------------------------------------------------------------------------

HASHES = {"data": "1" * 64, "release vendor": "2" * 64, "audit": "9" * 64, "split": "8" * 64, "checkpoint vendor 0": "3" * 64}
BOUND = replace(SOUND, plan={**SOUND.plan, "digest": "ab" * 32, "hashes": HASHES})


@pytest.mark.parametrize(
    ("expect", "code", "words"),
    [
        ({"plan": "ab" * 32}, 0, ""),
        ({"plan": "ab" * 6}, 0, ""),
        ({"plan": "cd" * 32}, 1, f"the plan of the run is {'ab' * 32}"),
        ({"plan": "cd" * 6}, 1, "the plan of the run is"),
        ({"data": ["1" * 64, "2" * 64]}, 0, ""),
        ({"data": ["1" * 64]}, 1, f"'release vendor' of the run is {'2' * 64}"),
        ({"data": ["1" * 64, "2" * 64, "4" * 64]}, 1, f"the run did not read {'4' * 64}"),
        ({"data": "1" * 64, "model": "3" * 64}, 1, "release vendor"),
        ({"model": "3" * 64}, 0, ""),
        ({"model": "5" * 64}, 1, "'checkpoint vendor 0' of the run is"),
    ],
)
def test_a_policy_binds_the_run_that_it_is_about(expect: dict[str, object], code: int, words: str) -> None:
    result = gate(BOUND, parse_policy({"expect": expect}))
    assert result.exit_code == code
    told = " ".join(case.reason for case in result.cases if case.kind == "expected")
    assert words in told
    names = {case.get("name") for case in ElementTree.fromstring(junit(result)).iter("testcase")}
    assert {f"the {what} that was expected" for what in expect} <= names


@pytest.mark.parametrize(
    "expect", [{"plan": "abc"}, {"plan": "AB" * 32}, {"data": []}, {"data": ["x"]}, {"modell": "3" * 64}, {"model": None}, None]
)
def test_what_is_no_digest_is_refused(expect: object) -> None:
    with pytest.raises(InputError):
        parse_policy({"expect": expect})


BLANK = ({"margins": {"leak": None}}, {"rules": [{"attributes": None, "allow": ["exposed"]}]}, {"baseline": {"run": "x", "worse": None}})


@pytest.mark.parametrize("policy", BLANK)
def test_a_blank_key_drops_no_check(policy: dict[str, object]) -> None:
    with pytest.raises(InputError, match="is blank"):
        parse_policy(policy)


# An older run ------------------------------------------------------------------------------------------------------


@pytest.fixture
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    bytes_only(monkeypatch)
    write_pack(SOUND, tmp_path / "reports" / "old", reports={"report.html": "", "report.md": ""})
    return tmp_path / "reports"


@pytest.mark.parametrize("left", [("plan.json",), ("plan.json", "evidence.json")])
def test_a_newer_run_that_did_not_end_leaves_the_older_one_undecided(
    left: tuple[str, ...], reports: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gate", str(reports)]) == 0
    (reports / "new").mkdir()
    for name in left:
        (reports / "new" / name).write_text("{}")
    capsys.readouterr()
    for command in (
        ["gate", str(reports)],
        ["compare", str(reports), str(reports)],
        ["gate", str(reports), "--junit", str(reports / "j.xml")],
    ):
        assert main(command) == 3
        line = capsys.readouterr().err
        assert line.count("\n") == 1
        assert "the complete run below this folder (old) is older than one that did not end (new)" in line
    error = ElementTree.parse(reports / "j.xml").find("testsuite/testcase/error")
    assert error is not None
    assert error.get("type") == "stale"
    assert main(["gate", str(reports), "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["exit_code"] == 3
    # Whoever names the run has chosen it.
    assert main(["gate", str(reports / "old")]) == 0


def test_a_run_that_was_given_up_before_is_no_doubt(reports: Path) -> None:
    (reports / "given-up").mkdir()
    (reports / "given-up" / "plan.json").write_text("{}")
    past = time.time() - 1000
    os.utime(reports / "given-up" / "plan.json", (past, past))
    assert find_run(reports).name == "old"
    assert main(["gate", str(reports)]) == 0
