"""Whoever changes fields of a pack and mends its hashes: checks cannot be talked over by what stands beside them."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from released_packs import PLAIN_FILES, edit, sign_again

from proxyaudit.cli.main import main
from proxyaudit.digests import code_digest
from proxyaudit.estimates.questions import LINEAR_READER, READERS, all_questions
from proxyaudit.estimates.states import figures_fit, passes
from proxyaudit.evidence.manifest import replace_files
from proxyaudit.probes import flexible
from proxyaudit.types import Estimate
from proxyaudit.verification.run import verify_folder

PACKS = Path(__file__).parents[1] / "fixtures" / "packs"
Document = dict[str, Any]
Edit = Callable[[Document], Any]


@pytest.fixture
def folder(today: Path) -> Path:
    return today


def number(document: Document, **where: Any) -> Document:
    return next(e for e in document["estimates"] if all(e[key] == value for key, value in where.items()))


def control(document: Document, **where: Any) -> Document:
    return next(c for c in document["controls"] if all(c[key] == value for key, value in where.items()))


LINEAR = {"channel": "linear", "measure": "leak", "regime": "real"}
NONLINEAR = {"channel": "nonlinear", "measure": "leak_nonlinear", "regime": "real"}


def test_what_was_not_changed_verifies(folder: Path) -> None:
    found = verify_folder(folder)
    assert (found.outcome, found.problems) == ("verified", ())
    assert main(["verify", str(folder)]) == 0


EDITS: dict[str, tuple[Edit, str]] = {
    "no controls at all": (
        lambda d: (d.update(controls=[]), [f.update(control_refs=[]) for f in d["findings"]]),
        "absent without a positive control that passed",
    ),
    "a control that nobody owns": (
        lambda d: control(d, kind="positive", channel="nonlinear", regime="real").update(attribute=None),
        "absent without a positive control that passed",
    ),
    "a number in no unit": (lambda d: number(d, **LINEAR).update(unit="zzz"), "in which unit"),
    "a number of no rows": (lambda d: number(d, **LINEAR).update(n=None), "on how many rows"),
    "surplus figure": (
        lambda d: control(d, kind="positive")["figures"].update(share=1.0, found_once=1.0, found_twice=1.0),
        "has others beside them",
    ),
    "surplus figure beside a failure": (
        lambda d: control(d, kind="positive").update(passed=True, figures={"found_once": 0.1, "found_twice": 0.2, "share": 1.0}),
        "has others beside them",
    ),
    "figures of another channel": (
        lambda d: control(d, kind="positive", channel="linear").update(figures={"least_found": 1.0, "least_absent_p": 1.0}),
        "lacks the figures",
    ),
    "figure out of its range": (
        lambda d: control(d, kind="positive").update(figures=dict.fromkeys(control(d, kind="positive")["figures"], 7.0)),
        "its figures say otherwise",
    ),
    "surplus figure of a negative control": (lambda d: control(d, kind="negative")["figures"].update(margin=0.02), "has others"),
    "reference for nobody": (lambda d: number(d, regime="floor").update(reference_for="nowhere"), "belongs to no regime"),
    "reference for a regime that is none": (lambda d: number(d, **LINEAR).update(reference_for="vendor"), "belongs to no regime"),
    "of a regime that is not there": (
        lambda d: number(d, regime="floor").update(regime="elsewhere"),
        "regime that plan.json does not have",
    ),
    "about nonsense": (lambda d: number(d, **LINEAR).update(subject="the moon"), "does not name"),
    "about another part": (lambda d: number(d, **NONLINEAR).update(subject="joint"), "does not name"),
    "shown by nobody": (lambda d: number(d, **NONLINEAR).update(shown_by="a seer"), "reader that its check does not have"),
    "shown by a reader of another check": (lambda d: number(d, **LINEAR).update(shown_by="mlp"), "reader that its check does not have"),
    "absent beside a reader that tells it": (lambda d: number(d, **LINEAR).update(auroc=0.99), "AUROC of 0.99"),
    "absent beside a reader turned round": (lambda d: number(d, **LINEAR).update(auroc=0.01), "AUROC of 0.01"),
    "absent beside a high score": (lambda d: number(d, **LINEAR).update(raw=0.6), "scores 0.6"),
    "nothing said to be left out": (lambda d: d.update(not_tested=[]), "not_tested is empty"),
    "something no longer said to be left out": (lambda d: d["not_tested"].pop(0), "not_tested leaves out"),
    "something said otherwise": (lambda d: d["not_tested"][0].update(why="no reason"), "not_tested leaves out"),
    "later schema": (lambda d: d.update(schema_version="1.9"), ""),
}


@pytest.mark.parametrize("name", list(EDITS))
def test_a_field_changed_by_hand_is_found(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change, words = EDITS[name]
    edit(folder, change)
    code = main(["verify", str(folder)])
    told = capsys.readouterr().err
    assert code == (2 if name == "later schema" else 4), told
    assert words in told
    assert main(["gate", str(folder)]) == code


def test_a_later_schema_is_refused_in_one_clear_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for version in ("1.9", "1.10", "1.2", "2.0", "1.1 "):
        edit(folder, lambda d, version=version: d.update(schema_version=version))
        for command in ("verify", "gate", "report"):
            assert main([command, str(folder)]) == 2
        told = capsys.readouterr()
        assert f"schema version '{version}', this proxyaudit reads 1.0 and 1.1" in told.err
        assert "Traceback" not in told.err


# A pack of today made over as one of schema 1.0, whose packs say less ---------------------------------------------


def _older(folder: Path) -> None:
    edit(folder, lambda d: d.update(schema_version="1.0"), "plan.json")
    edit(folder, lambda d: d.update(schema_version="1.0"))


def _without_later_fields(document: Document) -> None:
    later = {"measure", "subject", "reference_for", "shown_by", "rows_needed", "remedy", "bound", "next_model"}
    document["estimates"] = [{key: value for key, value in e.items() if key not in later} for e in document["estimates"]]
    trained = {"training", "cures", "controls_supported"}
    document["findings"] = [{key: value for key, value in f.items() if key not in trained} for f in document["findings"]]
    document["controls"] = [{key: value for key, value in c.items() if key != "figures"} for c in document["controls"]]


def test_a_pack_of_today_cannot_call_itself_older(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _older(folder)
    sign_again(folder)
    assert main(["verify", str(folder)]) == 4
    assert "says schema 1.0, which has no" in capsys.readouterr().err
    edit(folder, _without_later_fields)
    assert main(["verify", str(folder)]) == 4
    assert "does not write schema 1.0" in capsys.readouterr().err
    assert json.loads((folder / "plan.json").read_text(encoding="utf-8"))["code"] == code_digest()
    edit(folder, lambda d: d["versions"].update(proxyaudit="0.2.0"), "plan.json")
    edit(folder, lambda d: d["run"]["versions"].update(proxyaudit="0.2.0"))
    edit(folder, lambda d: d.update(code="0" * 64), "plan.json")
    sign_again(folder)
    assert main(["verify", str(folder)]) == 4
    assert "does not write schema 1.0" in capsys.readouterr().err


def test_an_older_schema_is_never_verified_in_full(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with tarfile.open(PACKS / "run-1.0.tar.xz") as tar:
        tar.extractall(tmp_path, **PLAIN_FILES)
    found = verify_folder(tmp_path / "run")
    assert found.problems == ()
    assert "older schema" in found.skipped
    assert main(["verify", str(tmp_path / "run"), "--strict"]) == 4
    capsys.readouterr()
    # Nor does it decide: outcomes of its controls are words that nobody can make again.
    assert main(["gate", str(tmp_path / "run")]) == 4
    assert "older schema" in capsys.readouterr().err


# The rules behind --------------------------------------------------------------------------------------------------

SETS = [
    ("positive", "linear", {"found_once": 1.0, "found_twice": 1.0}),
    ("positive", "linear", {"share": 1.0}),
    ("positive", "relearned", {"leak": 0.8, "share": 1.0}),
    ("positive", "used", {"least_found": 1.0, "least_absent_p": 0.5}),
    ("negative", "linear", {"p": 0.5}),
    ("random_subspace", "used", {"effect": 0.1, "random_high": 0.01, "margin": 0.02}),
    ("untrained", "used", {"smallest": 0.2, "largest_untrained": 0.1}),
    ("eraser", "linear", {"before": 0.1, "after": 0.0, "margin": 0.02}),
    ("baseline", "beyond", {"leak": 0.0, "margin": 0.02}),
    ("repetition", "task", {"identical_pairs": 0.0}),
]


@pytest.mark.parametrize(("kind", "channel", "figures"), SETS)
def test_each_control_has_one_exact_set_of_figures(kind: str, channel: str, figures: dict[str, float | None]) -> None:
    assert passes(kind, figures) is True
    assert figures_fit(kind, channel, figures)
    names = {name for _, _, known in SETS for name in known} | {"other"}
    for surplus in names - figures.keys():
        more = {**figures, surplus: 1.0}
        assert passes(kind, more) is None or not figures_fit(kind, channel, more), surplus
    for missing in figures:
        fewer = {name: value for name, value in figures.items() if name != missing}
        assert passes(kind, fewer) is None or not figures_fit(kind, channel, fewer) or (kind, fewer) == ("positive", {"share": 1.0})
        assert passes(kind, {**figures, missing: None}) is False


def test_readers_of_evidence_are_those_that_are_run() -> None:
    assert READERS == flexible.READERS
    assert all_questions()["nonlinear"].readers == READERS
    assert all_questions()["linear"].readers == (LINEAR_READER,)
    assert "bound" in Estimate.model_fields


SHAPELESS: dict[str, tuple[str, Edit]] = {
    "a note that is no text": ("plan.json", lambda d: d["notes"].append({"what": {"a": 1}, "why": "x"})),
    "a regime that is a number": ("plan.json", lambda d: d["regimes"].append(3)),
    "margins of text": ("plan.json", lambda d: d.update(margins={"leak": "0.02"})),
    "levels that are one": ("plan.json", lambda d: d["attributes"][0].update(levels="f")),
    "a number of failures": ("environment.json", lambda d: d.update(failures=0.5)),
    "failures by no regime": ("environment.json", lambda d: d.update(failures_by_regime="none")),
    "data that are a list": ("recipe.yaml", lambda d: d.update(data=[1])),
}


@pytest.mark.parametrize("name", list(SHAPELESS))
def test_what_cannot_be_a_plan_is_one_line(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Found by fuzzing: what read such a part ended with a traceback."""
    file, change = SHAPELESS[name]
    if file.endswith(".yaml"):
        document = yaml.safe_load((folder / file).read_bytes())
        change(document)
        replace_files(folder, {file: yaml.safe_dump(document).encode()})
    else:
        edit(folder, change, file)
    for command in (["verify", str(folder)], ["gate", str(folder)], ["report", str(folder)], ["compare", str(folder), str(folder)]):
        assert main(command) == 4
        assert f"{file} holds what it cannot" in capsys.readouterr().err


def test_a_changed_list_of_cures_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example = shutil.copytree(Path(__file__).parents[2] / "reports" / "example", tmp_path / "run")
    edit(example, lambda d: next(f for f in d["findings"] if len(f["cures"]) > 1)["cures"].pop())
    assert main(["verify", str(example)]) == 4
    assert "cures is resampled" in capsys.readouterr().err


def _other_type(document: Document, kind: str) -> None:
    """A value that a lenient reader takes for the same: "off" fails here, and passes wherever text that is not empty is true."""
    if kind == "truth":
        found = control(document, kind="positive")
        found["passed"] = "yes" if found["passed"] else "off"
    elif kind == "figure":
        figures = control(document, kind="positive")["figures"]
        figures.update({key: str(value) for key, value in figures.items()})
    elif kind == "count":
        number(document, **LINEAR)["n"] = float(number(document, **LINEAR)["n"])
    elif kind == "seed":
        document["run"]["seed"] = str(document["run"]["seed"])
    else:
        number(document, **LINEAR)["value"] = str(number(document, **LINEAR)["value"])


@pytest.mark.parametrize("kind", ["truth", "figure", "count", "seed", "value"])
def test_each_value_has_the_type_in_which_it_is_written(kind: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(folder, lambda d: _other_type(d, kind))
    for command in ("verify", "gate", "report"):
        assert main([command, str(folder)]) == 4
        assert "does not follow its schema" in capsys.readouterr().err
