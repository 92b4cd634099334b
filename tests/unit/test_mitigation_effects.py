"""The before and after of a mitigation, its Markdown, its recipe, and what erasers are fitted on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from proxyaudit.activations.capture import capture
from proxyaudit.audits.mitigation.risks import remaining_risks
from proxyaudit.audits.mitigation.run import mitigated_name, write_recipe
from proxyaudit.causal.erase import _fewest_moved, erase, fit_rows
from proxyaudit.comparison.compare import channel_changes, task_change, verdict_changes
from proxyaudit.data.attributes import Attribute, code_as
from proxyaudit.erasers.leace import fit_leace
from proxyaudit.errors import InputError
from proxyaudit.pipeline.plan import prepare_file
from proxyaudit.pipeline.prepared import Prepared
from proxyaudit.reporting.mitigation import render_mitigation, summary_lines
from proxyaudit.types import Estimate, Evidence

SITE = {"site": "penultimate", "units": 8, "rank": 1, "rows": 3000, "moved": 0.2, "norm": 1.1, "cosine": None, "task_given_up": 0}


def estimate(ident: str, regime: str, channel: str, value: float | None, state: Any, **more: Any) -> Estimate:
    ends = {} if value is None else {"low": value - 0.01, "high": value + 0.01}
    return Estimate(id=ident, channel=channel, attribute="sex", regime=regime, value=value, state=state, **{**ends, **more})


@pytest.fixture
def evidence(pack: Any) -> Evidence:
    """Two regimes of one attribute: linear gone, non-linear not settled, use of another form than before."""
    made = (
        estimate("E1", "real", "linear", 0.2, "present", site="penultimate", margin=0.02),
        estimate("E2", "real-mitigated", "linear", 0.004, "absent", site="penultimate", margin=0.02),
        estimate("E3", "real", "nonlinear", 0.3, "present", site="penultimate", margin=0.1),
        estimate("E4", "real-mitigated", "nonlinear", 0.08, "unknown", site="penultimate", margin=0.1, reason="too few rows"),
        estimate("E5", "real", "used", 0.15, "present", site="penultimate", context="signed"),
        estimate("E6", "real-mitigated", "used", 0.01, "unknown", site="penultimate", context="per-row"),
        estimate("E7", "real-mitigated", "elsewhere", 0.3, "present", site="hidden1"),
        estimate("E8", "real", "linear", 0.5, None, site="penultimate", context="unweighted"),
        estimate("E9", "real", "task", 0.9, None, seed_values=(0.91, 0.89), unit="AUROC").model_copy(update={"attribute": None}),
        estimate("E10", "real-mitigated", "task", 0.88, None, seed_values=(0.88, 0.88), unit="AUROC").model_copy(
            update={"attribute": None}
        ),
    )
    verdicts = tuple(
        pack.evidence.findings[0].model_copy(update={"attribute": "sex", "regime": regime, "verdict": verdict, "at_least": least})
        for regime, verdict, least in (("real", "exposed", None), ("real-mitigated", "inconclusive", "hidden"))
    )
    return Evidence.model_validate({**pack.evidence.model_dump(), "estimates": made, "findings": verdicts})


def document(evidence: Evidence, **more: Any) -> dict[str, Any]:
    channels = channel_changes(evidence, "real", "real-mitigated")
    risks = remaining_risks(channels, "sex", ["penultimate"], ["hidden1", "penultimate"], [], [[SITE]], [("relearned: x", "later")])
    return {
        "status": "complete",
        "source": {"name": "tiny", "run_id": "abc"},
        "attribute": "sex",
        "regime": "real",
        "mitigated_regime": "real-mitigated",
        "method": "leace",
        "sites": ["penultimate"],
        "weights": {"words": "kept"},
        "models": [[SITE]],
        "checkpoints": {"mitigated-0.safetensors": "a" * 64},
        "audit": {"run_id": "def", "recipe": "mitigated.yaml"},
        "verdicts": verdict_changes(evidence, "real", "real-mitigated"),
        "channels": channels,
        "task": task_change(evidence, "real", "real-mitigated"),
        "remains": risks,
        **more,
    }


def test_numbers_meet_their_own_before(evidence: Evidence) -> None:
    found = {(c["channel"], c["site"]): c for c in channel_changes(evidence, "real", "real-mitigated")}
    assert len(found) == 4  # the unweighted leak decides nothing and is left out
    linear = found["linear", "penultimate"]
    assert (linear["before"]["id"], linear["after"]["id"]) == ("E1", "E2")
    used = found["used", "penultimate"]
    assert (used["before"]["id"], used["after"]["id"]) == ("E5", "E6")  # one channel, whichever form was larger
    assert found["elsewhere", "hidden1"]["before"] is None


def test_task_loss_is_that_of_each_model(evidence: Evidence) -> None:
    assert task_change(evidence, "real", "real-mitigated")["loss_per_model"] == [0.03, 0.01]
    assert task_change(evidence, "real", "real-mitigated")["mean_loss"] == 0.02
    assert task_change(evidence, "real", "nobody") == {
        **task_change(evidence, "real", "nobody"),
        "after": None,
        "loss_per_model": [],
        "mean_loss": None,
    }


def test_what_remains_is_said(evidence: Evidence) -> None:
    text = "\n".join(document(evidence)["remains"])
    assert "elsewhere at hidden1: a reader at another site still finds it, 0.300 (0.290 to 0.310)" in text
    assert "nonlinear at penultimate: a non-linear reader cannot exclude it, 0.080 (0.070 to 0.090): too few rows" in text
    assert not text.startswith("linear at")
    assert "\nlinear at" not in text
    assert "earlier sites are untouched and relay what they did: hidden1" in text
    assert "not tested: relearned: x (later)" in text
    bad = {**SITE, "rows": 70, "task_given_up": 1, "rank": 0}
    more = "\n".join(remaining_risks([], "sex", ["a"], ["a"], ["a"], [[{**bad, "site": "a"}]], []))
    assert "few rows" in more
    assert "could not be kept" in more
    assert "nothing linear was found" in more
    assert "single tokens" in more
    assert "earlier sites" not in more


@pytest.mark.parametrize(
    ("states", "lines"),
    [
        (("present", "unknown"), ["sex is still found by: elsewhere."]),
        (("unknown", "present", "unknown"), ["sex is still found by: elsewhere."]),
        (("unknown", "unknown", "absent"), ["sex is not excluded by: elsewhere."]),
        (("absent",), []),
    ],
)
def test_a_check_made_at_several_places_is_named_once(evidence: Evidence, states: tuple[str, ...], lines: list[str]) -> None:
    one = next(c for c in document(evidence)["channels"] if c["channel"] == "elsewhere")
    places = [{**one, "site": f"hidden{i}", "after": {**one["after"], "state": state}} for i, state in enumerate(states)]
    assert [line for line in summary_lines(document(evidence, channels=places)) if line.startswith("sex is")] == lines


def test_the_page_says_it_all_and_escapes_names(evidence: Evidence) -> None:
    text = render_mitigation(document(evidence))
    lines = "\n".join(summary_lines(document(evidence)))
    assert (
        "Linear leak at penultimate: 0.200 (0.190 to 0.210) before, 0.004 (\u22120.006 to 0.014) after, absent at the margin of 0.02."
        in lines
    )
    assert "lost in each model: 0.030, 0.010" in lines
    assert "Verdict: exposed before, inconclusive, at least hidden after." in lines
    assert "sex is still found by: elsewhere." in lines
    assert "sex is not excluded by: non-linear leak and interchange effect." in lines
    for part in ("What was changed", "What it did to the attribute", "What it did to the task", "Verdicts", "What remains", "Reproduce"):
        assert f"## {part}" in text
    assert "partial" not in text
    evil = json.loads(json.dumps(document(evidence, status="partial")).replace("sex", "<img src=x>|`a`"))
    page = render_mitigation(evil)
    assert "<img" not in page
    assert "partial" in page


@pytest.mark.parametrize(
    ("value", "high", "words"), [(0.01, 0.018, "whole interval below"), (0.015, 0.03, ", below the"), (0.03, 0.05, "not below")]
)
def test_where_the_leak_stands_to_its_margin(value: float, high: float, words: str, evidence: Evidence) -> None:
    changed = document(evidence)
    linear = next(c for c in changed["channels"] if c["channel"] == "linear")
    linear["after"] = {**linear["after"], "value": value, "high": high, "state": "unknown"}
    assert words in summary_lines(changed)[0]


# Rows, fits and recipes ---------------------------------------------------------------------------------------------------

RECIPE = """\
name: rows
data: {path: real.csv, target: pay, protected: [who, age], discover: 0, exclude: [who], audit_share: 0.5}
regimes: [real]
model: {kind: mlp, hidden: [8, 8]}
seeds: 1
"""


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    rng = np.random.default_rng(5)
    who = rng.choice(["a", "b", "c", "rare", None], 1200, p=[0.4, 0.3, 0.2, 0.02, 0.08])
    frame = pd.DataFrame({"age": rng.normal(40, 9, 1200).round(4), "x": rng.normal(size=1200).round(4) + (who == "a"), "who": who})
    frame["pay"] = np.where(frame["x"] + rng.normal(size=1200) > 0.4, "high", "low")
    frame.to_csv(tmp_path / "real.csv", index=False)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return prepare_file(tmp_path / "recipe.yaml")


def test_other_rows_are_coded_by_the_audited_levels() -> None:
    codes = np.zeros(1, dtype=np.int64)
    column = pd.Series(["b", "a", None, "new", 1.0], dtype=object)
    assert code_as(Attribute("w", "protected", "binary", ("a", "b"), codes), column, where="").tolist() == [1, 0, -1, -1, -1]
    pooled = Attribute("w", "protected", "multiclass", ("(other)", "a", "b"), codes)
    assert code_as(pooled, column, where="").tolist() == [2, 1, -1, 0, 0]
    number = Attribute("w", "protected", "continuous", (), codes)
    assert np.isnan(code_as(number, pd.Series([1.5, np.nan]), where="")[1])


def test_erasers_are_fitted_on_known_training_rows_only(prepared: Prepared) -> None:
    who, age = prepared.dataset.attributes
    rows = fit_rows(prepared.dataset, who)
    train = prepared.dataset.train
    known = train["who"].isin(who.levels)
    assert len(rows.x) == known.sum() == len(rows.concept)
    assert len(rows.x) == known.sum() < len(train)
    assert np.array_equal(rows.x, prepared.dataset.encoder.transform(train[known]))
    assert rows.concept.shape[1] == len(who.levels) - 1
    numbers = fit_rows(prepared.dataset, age)
    assert numbers.concept.shape[1] == 4  # the number and three of its quarters
    assert np.linalg.matrix_rank(numbers.concept) == 4


def test_a_seldom_unit_counts_only_where_the_group_is_rare() -> None:
    def columns(n: int, share: float) -> np.ndarray:
        return (np.arange(n) < share * n).astype(float)[:, None]

    assert _fewest_moved(columns(5000, 0.5)) == 50
    assert _fewest_moved(columns(50_000, 0.5)) == 500
    assert _fewest_moved(columns(50_000, 0.01)) == 250
    assert _fewest_moved(columns(5000, 0.01)) == 30
    assert _fewest_moved(np.linspace(-1, 1, 5000)[:, None]) == 50


def test_too_few_known_rows_are_refused(prepared: Prepared) -> None:
    who = prepared.dataset.attributes[0]
    nobody = Attribute("who", "protected", "binary", ("x", "y"), who.codes)
    with pytest.raises(InputError, match="too few real training rows"):
        fit_rows(prepared.dataset, nobody)


@pytest.mark.parametrize("method", ["leace", "splince"])
def test_every_chosen_site_is_clean_on_the_fitted_rows(method: Any, prepared: Prepared) -> None:
    rows = fit_rows(prepared.dataset, prepared.dataset.attributes[0])
    model, changes = erase(prepared.build(0), rows, ("penultimate", "hidden1"), method)
    assert [change.site for change in changes] == ["hidden1", "penultimate"]
    assert all((change.cosine is None) == (method == "leace") for change in changes)
    json.dumps([change.as_dict() for change in changes], allow_nan=False)
    centred = rows.concept - rows.concept.mean(axis=0)
    for site in ("hidden1", "penultimate"):
        moving = fit_leace(capture(prepared.build(0), rows.x).acts[site], rows.concept).read_dr.any(axis=1)
        before = capture(prepared.build(0), rows.x).acts[site].astype(np.float64).T @ centred / len(centred)
        after = capture(model, rows.x).acts[site].astype(np.float64).T @ centred / len(centred)
        assert np.abs(before[moving]).max() > 0.01
        assert np.abs(after[moving]).max() < 1e-6
    assert changes[1].rank < changes[0].rank or changes[1].moved < 0.5


def test_affine_form_is_the_eraser() -> None:
    rng = np.random.default_rng(3)
    x, a = rng.normal(size=(500, 5)) + 3, rng.integers(0, 2, (500, 1)).astype(float)
    eraser = fit_leace(x + a, a)
    weight, bias = eraser.affine()
    assert np.allclose(x @ weight.T + bias, eraser(x))


def test_the_written_recipe_runs_from_where_it_lies(prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    regime = prepared.regime("real")
    far = tmp_path / "far"
    far.mkdir()
    monkeypatch.chdir(far)
    recipe = yaml.safe_load(
        write_recipe(far, prepared, regime, ["before-0.safetensors"], ["m-0.safetensors"], ("penultimate",)).read_text()
    )
    assert recipe["data"]["path"] == str(tmp_path / "real.csv")  # beyond both folders: the plain place
    assert recipe["regimes"] == [
        {"name": "real", "checkpoints": ["before-0.safetensors"]},
        {"name": "real-mitigated", "checkpoints": ["m-0.safetensors"], "erase": ["penultimate"]},
    ]
    monkeypatch.chdir(tmp_path)
    near = yaml.safe_load(write_recipe(far, prepared, regime, ["b"], ["m"], ("penultimate",)).read_text())
    assert near["data"]["path"] == "../real.csv"
    assert near["name"] == "rows-mitigated"
    assert len(mitigated_name("x" * 80)) == 80
