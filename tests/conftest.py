"""Hand-made packs for tests of evidence, reports and the command line."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small problems: threads only wait for each other
# Recipes of tests are the tests' own; what packs name is never covered by this.
os.environ.setdefault("PROXYAUDIT_RUN_CODE", "any")
os.environ["PROXYAUDIT_SECRET"] = "a secret for tests that everybody knows"
os.environ["PROXYAUDIT_HOME"] = tempfile.mkdtemp(prefix="proxyaudit-tests-")
# Never that of whoever runs the tests; each file of tests has one of its own below it.
os.environ["PROXYAUDIT_CACHE"] = tempfile.mkdtemp(prefix="proxyaudit-tests-cache-")

import numpy as np
import pytest

from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.types import Change, Control, Estimate, Evidence, Finding, NotTested, Origin, RunInfo


def pytest_configure() -> None:
    """See that signals are heard and that code is compiled once, whatever the surroundings say."""
    # A program that was started in the background ignores this signal, and so does whatever it starts; tests send it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Else every process that a test starts compiles the whole package.
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_unconfigure() -> None:
    """Remove what the tests' auditor kept."""
    for name in ("PROXYAUDIT_HOME", "PROXYAUDIT_CACHE"):
        shutil.rmtree(os.environ[name], ignore_errors=True)


@pytest.fixture(scope="module", autouse=True)
def cache_of_module() -> Iterator[Path]:
    """The cache that the tests of a file share, unless they name another."""
    folder = Path(tempfile.mkdtemp(dir=os.environ["PROXYAUDIT_CACHE"]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROXYAUDIT_CACHE", str(folder))
        yield folder
    shutil.rmtree(folder, ignore_errors=True)


_SITES = ("hidden1", "hidden2", "penultimate")
_REGIMES = ("real", "gaussian_copula", "tvae", "mixed-gaussian_copula-0.5")
# regime: (leak, gap, effect) of the first attribute; shaped like the reference figures for Adult.
_FIGURES = {
    "real": (0.157, 0.172, 0.151),
    "gaussian_copula": (0.201, 0.081, 0.069),
    "tvae": (0.142, 0.249, 0.221),
    "mixed-gaussian_copula-0.5": (0.176, 0.013, 0.004),
    "untrained": (0.281, 0.0, 0.0),
    "reweighed": (0.128, 0.108, 0.110),
}
_VERDICTS = {"real": "exposed", "gaussian_copula": "exposed", "tvae": "exposed", "mixed-gaussian_copula-0.5": "hidden"}


MEASURES = {"linear": "leak", "nonlinear": "leak_nonlinear", "expressed": "gap", "used": "effect", "task": "auroc"}


class _Numbers:
    """Collects estimates and numbers them."""

    def __init__(self) -> None:
        self.made: list[Estimate] = []

    def add(self, channel: str, attribute: str | None, regime: str, value: float | None, **more: Any) -> str:
        ident = f"E{len(self.made) + 1}"
        if value is not None:
            more = {"low": round(value - 0.012, 6), "high": round(value + 0.014, 6), "n": 12000, "seeds": 3, **more}
        more = {"measure": MEASURES[channel], **more}
        self.made.append(Estimate(id=ident, channel=channel, attribute=attribute, regime=regime, value=value, **more))
        return ident


def _attribute(numbers: _Numbers, name: str, role: Any, scale: float) -> list[Finding]:
    findings = []
    leak_unit = "fraction of log2 K, class-balanced"
    for regime, (leak, gap, effect) in _FIGURES.items():
        refs = []
        decides = regime in _REGIMES
        for depth, site in enumerate(_SITES):
            state = ("present" if leak * scale > 0.02 else "unknown") if decides and site == "penultimate" else None
            value = round(leak * scale * (1 + 0.3 * (2 - depth)), 6)
            ident = numbers.add(
                "linear", name, regime, value, site=site, state=state, unit=leak_unit, margin=0.02, auroc=0.71, method="score statistic"
            )
            if site == "penultimate":
                refs.append(ident)
            if decides:
                placebos = {"reference_for": regime, "context": f"{regime}: 95th percentile of 20 placebos"}
                numbers.add("linear", name, "placebo", 0.12 * scale, site=site, unit=leak_unit, **placebos)
        state = ("present" if gap * scale > 0.05 else "unknown") if decides else None
        why = "the interval covers the margin" if state == "unknown" else None
        refs.append(numbers.add("expressed", name, regime, round(gap * scale, 6), state=state, unit="probability", margin=0.05, reason=why))
        within = {"measure": "gap_within_label", "context": "within label", "group": "income >50K"}
        numbers.add("expressed", name, regime, round(gap * scale * 0.6, 6), unit="probability", **within)
        refs.append(
            numbers.add("used", name, regime, round(effect * scale, 6), site="penultimate", state=state, unit="probability", margin=0.02)
        )
        random = {"measure": "first_order_effect", "context": "random subspace of equal rank"}
        numbers.add("used", name, regime, 0.002, site="penultimate", unit="probability", **random)
        if not decides:
            continue
        numbers.add(
            "nonlinear", name, regime, None, site="penultimate", state="unknown", rows_needed=30000, reason="not measured by this version"
        )
        verdict: Any = _VERDICTS[regime] if scale > 0.5 else "inconclusive"
        findings.append(
            Finding(
                attribute=name,
                role=role,
                regime=regime,
                verdict=verdict,
                at_least="hidden" if verdict == "inconclusive" and leak * scale > 0.02 else None,
                encoding="linear" if leak * scale > 0.02 else "unknown",
                use=("expressed", "used") if verdict == "exposed" else ("unknown",),
                recoverable=("unknown",),
                mechanisms=("linear",),
                basis="beyond_label" if verdict == "exposed" else None,
                origin=Origin(encoding="relayed", use="learned" if verdict == "exposed" else "unknown"),
                change=Change(
                    encoding="amplified" if regime == "gaussian_copula" else "unchanged", use="reduced" if gap < 0.15 else "unknown"
                ),
                sentence=f"In all 3 trained models a linear reader gets {name} out of the last representation.",
                decided_by=tuple(refs),
                would_settle=None if verdict == "exposed" else "about 30 000 audit rows",
            )
        )
    numbers.add("linear", name, "inputs", round(min(0.53 * scale, 0.9), 6), site="inputs", unit=leak_unit)
    return findings


def build_pack(names: tuple[str, ...] = ("sex", "race", "relationship"), *, status: Any = "complete") -> EvidencePack:
    """A pack with several attributes (the last one a proxy), four regimes and the references."""
    numbers = _Numbers()
    roles = {name: "proxy" if len(names) > 1 and name == names[-1] else "protected" for name in names}
    findings = [f for index, name in enumerate(names) for f in _attribute(numbers, name, roles[name], (1.0, 0.1, 1.3)[index % 3])]
    for regime in _REGIMES:
        numbers.add("task", None, regime, 0.88, context="AUROC", unit="area under the ROC curve")
    controls = (
        Control(id="C1", kind="negative", channel="linear", attribute=names[0], regime="real", site="penultimate", passed=True, detail=""),
        Control(
            id="C2",
            kind="random_subspace",
            channel="used",
            attribute=names[0],
            regime="tvae",
            site="penultimate",
            passed=False,
            detail="effect .03",
        ),
        Control(
            id="C3",
            kind="positive",
            channel="linear",
            attribute=names[0],
            regime="real",
            site=None,
            passed=None,
            detail="comes with planting",
        ),
    )
    plan = {
        "digest": "d" * 64,
        "name": "quickstart",
        "run_id": "abc123",
        "seed": 0,
        "seeds": 3,
        "regimes": [
            {"name": "real", "kind": "real", "of": None, "ratio": None, "sees_protected": None, "training_rows": 12000},
            {"name": "gaussian_copula", "kind": "synthetic", "of": None, "ratio": None, "sees_protected": True, "training_rows": 12000},
            {"name": "tvae", "kind": "synthetic", "of": None, "ratio": None, "sees_protected": False, "training_rows": 12000},
            {"name": _REGIMES[3], "kind": "mixed", "of": "gaussian_copula", "ratio": 0.5, "sees_protected": True, "training_rows": 12000},
        ],
        "references": ["untrained", "reweighed"],
        "sites": {"verdict": ["penultimate"], "profile": list(_SITES)},
        "attributes": [{"name": name, "role": roles[name], "kind": "binary", "levels": ["Female", "Male"]} for name in names],
        "columns": ["age", "hours"],
        "rows": {"train": 24000, "audit": 12000, "training_size": 12000},
        "target": {"name": "income", "classes": ["<=50K", ">50K"]},
        "margins": {"leak": 0.02, "nonlinear": 0.1, "gap": 0.05, "effect": 0.02, "relearned": 0.05},
        "level": 0.95,
        "cells": 12,
        "tasks": 15,
        "estimated_minutes": 4.0,
        "notes": [{"what": "nonlinear", "why": "comes with a later version"}],
        "hashes": {"adult.csv.gz": "a" * 64},
        "versions": {"proxyaudit": "0.1.0"},
    }
    evidence = Evidence(
        run=RunInfo(
            id="abc123", name="quickstart", status=status, plan_digest="d" * 64, versions={"proxyaudit": "0.1.0", "torch": "2.13.0"}, seed=0
        ),
        findings=tuple(findings),
        estimates=tuple(numbers.made),
        controls=controls,
        not_tested=(
            NotTested(what="Non-linear readers", why="they come with a later version"),
            NotTested(what="Planted absence", why="likewise"),
        ),
    )
    recipe = {
        "name": "quickstart",
        "data": {"card": "adult.yaml", "exclude": list(names[:1])},
        "model": {"kind": "mlp", "hidden": [128, 64, 32]},
    }
    failed = ["train tvae, repetition 1: out of memory"] if status == "partial" else []
    environment = {"started": "2026-11-23T12:00:00Z", "seconds": 200.5, "failures": failed}
    arrays = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.zeros((0, 2))}
    return EvidencePack(evidence, plan, recipe, environment, arrays)


@pytest.fixture
def make_pack() -> Callable[..., EvidencePack]:
    """The builder itself, for tests that need other names or another status."""
    return build_pack


@pytest.fixture
def pack() -> EvidencePack:
    return build_pack()
