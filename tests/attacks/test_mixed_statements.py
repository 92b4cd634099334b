"""Statements that are all signed by the right key and do not belong together, one key that passes for two, and a baseline of nobody."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("securesystemslib", reason="the extra 'sign' is not installed")
pytest.importorskip("rfc3161_client", reason="the extra 'sign' is not installed")

from signers import PASSPHRASE, make_key, public, refused, sign

from proxyaudit.attestation.envelope import Envelope, envelopes_file, read_envelopes
from proxyaudit.attestation.keys import PASSPHRASE as VARIABLE
from proxyaudit.attestation.keys import read_signer
from proxyaudit.attestation.statements import PAYLOAD
from proxyaudit.cli.main import main
from proxyaudit.evidence.canonical import canonical_json
from proxyaudit.evidence.manifest import ATTESTATION
from proxyaudit.verification.run import verify_folder

Told = pytest.CaptureFixture[str]
LAX, STRICT = "allow: [removed, hidden, exposed]\n", "allow: [removed]\n"


@pytest.fixture(autouse=True)
def _passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, PASSPHRASE)


@pytest.fixture(scope="module")
def alice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("alice"))


@pytest.fixture
def twice(today: Path, alice: Path, tmp_path: Path) -> tuple[list[Envelope], list[Envelope]]:
    """What alice signed under a lax policy, and then under a strict one."""
    found = []
    for name, text in (("lax", LAX), ("strict", STRICT)):
        policy = tmp_path / f"{name}.yaml"
        policy.write_text(text)
        assert sign(today, alice, "--policy", str(policy)) == 0
        found.append(read_envelopes((today / ATTESTATION).read_bytes()))
    return found[0], found[1]


def as_signed_now(file: Path, change: dict[str, Any]) -> Path:
    path = file.with_name("again.pub")
    path.write_bytes(canonical_json({**json.loads(file.read_bytes()), **change}))
    return path


@pytest.mark.parametrize("change", [{"name": "bob"}, {"not_after": "2999-01-01"}, {"not_after": "2020-01-01"}, {}])
def test_one_key_is_never_two_signers(change: dict[str, Any], today: Path, alice: Path, capsys: Told) -> None:
    assert sign(today, alice) == 0
    again = as_signed_now(Path(public(alice)), change)
    for keys in ([public(alice), str(again)], [str(again), public(alice)]):
        for command, option in (("verify", "--key"), ("gate", "--signed-by")):
            refused(capsys, [command, str(today), *(word for key in keys for word in (option, key))], 2, "again")


@pytest.mark.parametrize("day", ["2027-W01-1", "\uff12\uff10\uff12\uff17-12-31", "2027-366", "2027-02-30"])
def test_a_last_day_is_a_day(day: str, today: Path, alice: Path, capsys: Told) -> None:
    refused(
        capsys, ["verify", str(today), "--key", str(as_signed_now(Path(public(alice)), {"not_after": day}))], 2, "'not_after' is no day"
    )


MIXES: dict[str, tuple[Callable[[list[Envelope], list[Envelope]], list[Envelope]], str]] = {
    "the old outcome beside the new verdicts": (lambda lax, strict: [lax[0], strict[1]], "the outcome of one policy, and the verdicts"),
    "the new outcome beside the old verdicts": (lambda lax, strict: [strict[0], lax[1]], "the outcome of one policy, and the verdicts"),
    "both outcomes": (lambda lax, strict: [lax[0], *strict], "signed the gate's outcome twice"),
    "both verdicts": (lambda lax, strict: [*strict, lax[1]], "twice"),
    "all four": (lambda lax, strict: [*lax, *strict], "twice"),
}


@pytest.mark.parametrize("name", list(MIXES))
def test_what_one_key_signed_at_two_times_is_not_mixed(
    name: str, twice: tuple[list[Envelope], list[Envelope]], today: Path, alice: Path, capsys: Told
) -> None:
    mix, reason = MIXES[name]
    (today / ATTESTATION).write_bytes(envelopes_file(mix(*twice)))
    for more in ([], ["--key", public(alice)]):
        refused(capsys, ["verify", str(today), *more], 4, reason)
    (today / ATTESTATION).write_bytes(envelopes_file(twice[0]))
    assert main(["verify", str(today), "--key", public(alice)]) == 0


FALSE: dict[str, tuple[int, Callable[[dict[str, Any]], Any], str]] = {
    "passed": (0, lambda d: d.update(result="PASSED"), "the signed outcome is not FAILED"),
    "a word of its own": (0, lambda d: d.update(result="BRILLIANT"), "the signed outcome is not FAILED"),
    "no result": (0, lambda d: d.pop("result"), "the signed outcome is not FAILED"),
    "no answers": (0, lambda d: d.update(failedTests=None), "does not list its answers"),
    "an answer that is no name": (0, lambda d: d.update(passedTests=[1]), "does not list its answers"),
    "another plan": (0, lambda d: d["configuration"][0]["digest"].update(sha256="0" * 64), "about another plan"),
    "a plan twice": (0, lambda d: d["configuration"].append(d["configuration"][0]), "about another plan"),
    "nothing": (0, lambda d: d.clear(), "about another plan"),
    "no verdicts": (1, lambda d: d.pop("verdicts"), "says nothing of the verdicts"),
    "no plan": (1, lambda d: d.pop("plan_digest"), "says nothing of the plan_digest"),
    "nothing at all": (1, lambda d: d.clear(), "says nothing of the run"),
}


@pytest.mark.parametrize("name", list(FALSE))
def test_a_statement_that_contradicts_itself_or_the_run_vouches_for_nothing(
    name: str, twice: tuple[list[Envelope], list[Envelope]], today: Path, alice: Path, capsys: Told
) -> None:
    place, change, reason = FALSE[name]
    made, signer = list(twice[1]), read_signer(alice, PASSPHRASE)
    statement = json.loads(made[place].payload)
    change(statement["predicate"])
    made[place] = Envelope(canonical_json(statement), PAYLOAD).signed_by(signer)
    (today / ATTESTATION).write_bytes(envelopes_file(made))
    refused(capsys, ["verify", str(today), "--key", public(alice)], 4, reason)


def test_several_signers_under_several_policies_are_no_mixture(
    twice: tuple[list[Envelope], list[Envelope]], today: Path, tmp_path: Path, alice: Path
) -> None:
    bob = make_key(tmp_path, "bob")
    for policy in ("lax", "strict"):
        assert sign(today, bob, "--policy", str(tmp_path / f"{policy}.yaml")) == 0
        assert main(["verify", str(today), "--key", public(alice), "--key", public(bob)]) == 0
        assert verify_folder(today).outcome == "verified in part"


@pytest.mark.parametrize("who", ["nobody", "somebody else", "the signer"])
def test_a_baseline_is_signed_as_the_run_is(who: str, today: Path, alice: Path, tmp_path: Path, capsys: Told) -> None:
    before, policy = Path(shutil.copytree(today, tmp_path / "before")), tmp_path / "policy.yaml"
    policy.write_text(f"{LAX}baseline: before\n")
    assert sign(today, alice) == 0
    if who != "nobody":
        assert sign(before, alice if who == "the signer" else make_key(tmp_path, "mallory")) == 0
    command = ["gate", str(today), "--policy", str(policy)]
    assert main(command) == 0
    if who == "the signer":
        assert main([*command, "--signed-by", public(alice)]) == 0
    else:
        refused(capsys, [*command, "--signed-by", public(alice)], 4, "before]")


def test_a_policy_may_name_the_plan_of_its_baseline(today: Path, tmp_path: Path, capsys: Told) -> None:
    shutil.copytree(today, tmp_path / "before")
    own, policy = json.loads((today / "plan.json").read_bytes())["digest"], tmp_path / "policy.yaml"
    for plan, code in ((own, 0), (own[:12], 0), ("0" * 64, 1), (f"{own[:12]}x", 2)):
        policy.write_text(f"{LAX}baseline: {{run: before, plan: '{plan}'}}\n")
        assert main(["gate", str(today), "--policy", str(policy)]) == code, plan
    policy.write_text(f"{LAX}baseline: before\nsealed: true\n")
    capsys.readouterr()
    assert main(["gate", str(today), "--policy", str(policy), "--json"]) == 1
    assert any("not the run that lies in the folder of its baseline" in note for note in json.loads(capsys.readouterr().out)["notes"])


@pytest.mark.parametrize(
    "text", ["attributes: []", "regimes: []", "rules: [{attributes: [], allow: [exposed]}]", "rules: [{regimes: [], allow: [exposed]}]"]
)
def test_a_policy_that_judges_nobody_is_refused(text: str, today: Path, tmp_path: Path, capsys: Told) -> None:
    """Beside an expectation that is met it would pass whatever the verdicts are."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(f"{text}\nexpect: {{plan: {json.loads((today / 'plan.json').read_bytes())['digest']}}}\n")
    refused(capsys, ["gate", str(today), "--policy", str(policy)], 2, "the list is empty, and nothing would be judged")
