"""The smallest packs that can be compared and gated: one number and one finding at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.types import Change, Control, Estimate, Evidence, Finding, Origin, RunInfo

MARGINS = {"leak": 0.02, "nonlinear": 0.1, "gap": 0.05, "effect": 0.02, "relearned": 0.05}
_UNIT = {"expressed": "difference in mean predicted probability", "used": "difference in mean predicted probability"}
_CONTEXT = {"expressed": "gap", "used": "signed"}
_MEASURE = {"expressed": "gap", "used": "effect", "nonlinear": "leak_nonlinear"}
_MARGIN = {"expressed": "gap", "used": "effect", "nonlinear": "nonlinear"}


def estimate(channel: str, value: float | None, state: str, *, se: float = 0.003, seeds: tuple[float, ...] = (), **more: Any) -> Estimate:
    """A deciding number at the verdict site (outputs for ``expressed``)."""
    fields: dict[str, Any] = {
        "id": "E1",
        "channel": channel,
        "attribute": "sex",
        "regime": "model",
        "site": None if channel == "expressed" else "penultimate",
        "measure": _MEASURE.get(channel, "leak"),
        "context": _CONTEXT.get(channel),
        "state": state,
        "value": value,
        "low": None if value is None else value - 1.96 * se,
        "high": None if value is None else value + 1.96 * se,
        "unit": _UNIT.get(channel, "fraction of log2 K, class-balanced"),
        "seeds": max(len(seeds), 1),
        "seed_values": seeds or (() if value is None else (value,)),
        "margin": MARGINS[_MARGIN.get(channel, "leak")],
        "n": 4000,
    }
    return Estimate(**{**fields, **more})


def finding(verdict: str, at_least: str | None = None, **more: Any) -> Finding:
    """A finding about ``sex`` in the regime ``model``."""
    fields: dict[str, Any] = {
        "attribute": "sex",
        "role": "protected",
        "regime": "model",
        "verdict": verdict,
        "at_least": at_least,
        "encoding": "unknown",
        "use": ("unknown",),
        "recoverable": ("unknown",),
        "origin": Origin(encoding="unknown", use="unknown"),
        "change": Change(encoding="unknown", use="unknown"),
        "sentence": "A sentence.",
    }
    return Finding(**{**fields, **more})


def small_pack(
    estimates: list[Estimate],
    findings: list[Finding],
    *,
    kind: str = "checkpoints",
    sites: tuple[tuple[str, ...], tuple[str, ...]] = (("penultimate",), ("hidden1", "penultimate")),
    controls: tuple[Control, ...] = (),
    status: Any = "complete",
    margins: dict[str, float] | None = None,
    rows: str = "r" * 64,
    digest: str = "d" * 64,
    split: str | None = "s" * 64,
    seed: int = 0,
    arrays: dict[str, Any] | None = None,
) -> EvidencePack:
    """A pack of these numbers and findings; ids are given in order."""
    regimes = list(dict.fromkeys(f.regime for f in findings))
    plan = {
        "name": "small",
        "run_id": "abc123",
        "digest": digest,
        "audit_rows": rows,
        "regimes": [{"name": name, "kind": kind} for name in regimes],
        "sites": {"verdict": list(sites[0]), "profile": list(sites[1])},
        "margins": margins or MARGINS,
        "seed": seed,
        "rows": {"training_size": 4000},
        "hashes": {"data": "t" * 64, **({"split": split} if split else {})},
    }
    evidence = Evidence(
        run=RunInfo(id="abc123", name="small", status=status, plan_digest=digest, versions={}, seed=0),
        findings=tuple(findings),
        estimates=tuple(e.model_copy(update={"id": f"E{index}"}) for index, e in enumerate(estimates, start=1)),
        controls=controls,
        not_tested=(),
    )
    return EvidencePack(evidence, plan, {"name": "small"}, {"failures": []}, arrays or {})


def with_rows(pack: EvidencePack, sums: np.ndarray, spread: np.ndarray | None = None) -> EvidencePack:
    """The pack with row sums for each of its numbers."""
    count = len(pack.evidence.estimates)
    spread = np.tile([float((sums**2).mean()), 3999.0, 0.0, 1e9], (count, 1)) if spread is None else spread
    arrays = {"row_parts.ids": np.arange(1, count + 1), "row_parts.sums": np.broadcast_to(sums, (count, 10)), "row_parts.spread": spread}
    return replace(pack, arrays=arrays)
