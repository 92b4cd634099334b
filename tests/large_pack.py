"""A made-up pack of any size that has every kind of number a report draws. Values are smooth functions of their place, not data."""

from __future__ import annotations

import math
from typing import Any

from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.types import Change, Control, Estimate, Evidence, Finding, NotTested, Origin, RunInfo, Training, TriedCure

VERDICTS: tuple[Any, ...] = ("exposed", "inconclusive", "hidden", "removed")
_TRAINED: tuple[Any, ...] = ("left_alone", "amplified", "unknown", "suppressed")
_LEAK = "fraction of log2 K, class-balanced"
_MEASURES = {"linear": "leak", "elsewhere": "leak", "nonlinear": "leak_nonlinear", "expressed": "gap"}
_GAP = "difference in mean predicted probability"


class _Pack:
    def __init__(self, attributes: tuple[str, ...], regimes: tuple[str, ...], sites: tuple[str, ...], columns: tuple[str, ...]) -> None:
        self.attributes, self.regimes, self.sites, self.columns = attributes, regimes, sites, columns
        self.estimates: list[Estimate] = []

    def add(self, channel: str, attribute: str | None, regime: str, value: float | None, **more: Any) -> str:
        ident = f"E{len(self.estimates) + 1}"
        if value is not None:
            more = {"low": round(value - 0.03, 6), "high": round(value + 0.05, 6), "n": 6000, "seeds": 3, "null_high": 0.004, **more}
        more = {"measure": _MEASURES.get(channel, channel), **more}
        self.estimates.append(Estimate(id=ident, channel=channel, attribute=attribute, regime=regime, value=value, **more))
        return ident

    def regime(self, attribute: str, regime: str, strength: float, *, reference: bool) -> tuple[str, ...]:
        state = None if reference else "present" if strength > 0.3 else "absent"
        decided: list[str] = []
        for depth, site in enumerate(self.sites):
            last = depth == len(self.sites) - 1
            value = round(strength * (1 - 0.5 * depth / len(self.sites)), 6)
            more = {"site": site, "unit": _LEAK, "method": "score", "margin": 0.02, "detection_limit": 0.011, "state": state}
            ident = self.add("linear" if last else "elsewhere", attribute, regime, value, **more)
            decided += [ident] if last else []
            band = f"{regime}: 95th percentile of 20 placebos"
            placebo = {"reference_for": regime, "context": band}
            self.add("linear" if last else "elsewhere", attribute, "placebo", 0.3, site=site, unit=_LEAK, **placebo)
        decided.append(
            self.add(
                "expressed", attribute, regime, strength / 3, context="gap", group="b minus a", state=state, unit=_GAP, rows_needed=14000
            )
        )
        for measure, context in (("effect", "per-row"), ("learned_effect", "learned: per-row")):
            more = {"measure": measure, "context": context, "group": "a to b", "state": state, "unit": _GAP}
            self.add("used", attribute, regime, strength / 4, site=self.sites[-1], **more)
        for rows in (16, 64, 256, 1024):
            curve = {"measure": "curve", "subject": f"last block, {rows} rows", "context": f"last block, {rows} rows"}
            self.add("relearned", attribute, regime, strength * rows / 1024, unit=_LEAK, **curve)
        if reference:
            return ()
        self.add("nonlinear", attribute, regime, strength / 9, site=self.sites[-1], state="absent", unit=_LEAK)
        curve = {"measure": "curve", "subject": "last block, 256 rows", "reference_for": regime}
        self.add("relearned", attribute, "placebo", 0.2, context=f"{regime}: 95th percentile of 20 placebos, last block, 256 rows", **curve)
        excess = "last block, 256 rows: excess over untrained and placebos"
        self.add("relearned", attribute, regime, -0.1, measure="excess", context=excess, state="absent")
        for column in self.columns:
            of = {"subject": column, "context": column}
            self.add("association", attribute, regime, strength / 2, state="present", unit=_LEAK, **of)
            self.add("proxy_use", attribute, regime, strength / 8, state="present", **of)
            self.add("path_total", attribute, regime, strength / 5, group="a to b", **of)
            self.add("path", attribute, regime, strength / 6, site=self.sites[-1], group="a to b", **of)
        if regime != "real":
            for what, share in (("encoding", 1), ("use", 2)):
                ratio = {"measure": f"{what}_ratio", "context": f"{what}: ratio to real training", "unit": "ratio"}
                self.add("retention", attribute, regime, strength / share, **ratio)
        return tuple(decided)

    def training(self, attribute: str | None, regime: str, share: float, *, own: bool) -> tuple[str | None, str | None]:
        """Prominence along the model; of a kind of training that is to be compared, its gain and what is kept of real's."""
        about = {"unit": "share of variance", "subject": None if attribute else "the label"}
        for depth, site in enumerate(self.sites):
            value = round(share * (0.5 + 0.5 * (depth + 1) / len(self.sites)), 6)
            more = {"low": round(0.8 * value, 6), "high": round(1.2 * value, 6), **about}
            self.add("prominence", attribute, regime, value, measure="units", site=site, **more)
        if not own:
            return None, None
        last = {"site": self.sites[-1], "unit": "log ratio"}
        gain = self.add("prominence", attribute, regime, round(math.log(share / 0.02), 6), measure="gain", **last)
        self.add("prominence", attribute, "placebo", 2.0, measure="gain", reference_for=regime, **last)
        last = {**last, "unit": "ratio"}
        return gain, None if regime == "real" else self.add("prominence", attribute, regime, 0.6, measure="kept_of_added", **last)

    def cures(self, attribute: str, regime: str, gap: float, group: str) -> tuple[TriedCure, ...]:
        """Four ways to alter the training rows, each better and dearer than the one before."""
        made = []
        for k, name in enumerate(("reweighed", "resampled", "dropped-2", "permuted-2")):
            left, cost, of = (
                round(gap * (0.8 - 0.2 * k), 6),
                round(0.004 * 3**k, 6),
                {"subject": name, "context": f"rows that {name} has made otherwise"},
            )
            ids = [self.add("cure", attribute, regime, left, measure="gap", group=group, unit=_GAP, **of)]
            change = {"measure": "gap_change", "low": round(left - gap - 0.01, 6), "high": round(left - gap + 0.005, 6)}
            ids.append(self.add("cure", attribute, regime, round(left - gap, 6), group=group, unit=_GAP, **change, **of))
            ids.append(self.add("cure", attribute, regime, cost, measure="auroc_cost", **of))
            ids.append(self.add("cure", attribute, regime, round(0.05 - 0.01 * k, 6), measure="prominence", site=self.sites[-1], **of))
            made.append(TriedCure(name=name, estimates=tuple(ids), auroc_cost=cost))
        return tuple(made)


def large_pack(
    attributes: tuple[str, ...],
    regimes: tuple[str, ...],
    sites: tuple[str, ...],
    *,
    columns: tuple[str, ...] = ("age", "job", "street"),
    group: str = "b minus a",
    verdicts: tuple[Any, ...] = VERDICTS,
    training: bool = False,
) -> EvidencePack:
    """Return a pack with these attributes (the last one a proxy), regimes (real first, the last one a mixture) and sites.

    With ``training`` prominence was measured, and cures were tried.
    """
    made = _Pack(attributes, regimes, sites, columns)
    findings: list[Finding] = []
    for index, attribute in enumerate(attributes):
        for column in columns:
            made.add("association", attribute, "inputs", 0.3, subject=column, context=column, state="present", unit=_LEAK)
        made.add("linear", attribute, "inputs", 0.8, site="inputs", unit=_LEAK)
        for reference in ("untrained", "reweighed"):
            made.regime(attribute, reference, 0.2, reference=True)
        if training:
            made.training(attribute, "untrained", 0.02, own=False)
        for place, regime in enumerate(regimes):
            verdict = verdicts[(index + place) % len(verdicts)]
            strength = 0.1 + 0.8 / (1 + place + index)
            decided = made.regime(attribute, regime, strength, reference=False)
            told: dict[str, Any] = {}
            if training:
                gain, kept = made.training(attribute, regime, 0.02 * (1 + place), own=True)
                word = _TRAINED[place % len(_TRAINED)]
                told["training"] = Training(word=word, singled_out=False, gain=gain, kept_of_real=kept)
                told["cures"] = made.cures(attribute, regime, strength / 3, group)
            findings.append(
                Finding(
                    attribute=attribute,
                    role="proxy" if len(attributes) > 1 and index == len(attributes) - 1 else "protected",
                    regime=regime,
                    verdict=verdict,
                    at_least="hidden" if verdict == "inconclusive" and place % 2 else None,
                    encoding="absent" if verdict == "removed" else "linear",
                    use=("expressed", "used") if verdict == "exposed" else ("none",),
                    recoverable=("none",),
                    mechanisms=("linear",),
                    origin=Origin(encoding="learned", use="learned"),
                    change=Change(encoding="reduced", use="unchanged"),
                    sentence=f"In all 3 models of '{regime}' this is what was found of '{attribute}'.",
                    decided_by=decided,
                    would_settle="about 14,000 audit rows" if verdict == "inconclusive" else None,
                    **told,
                )
            )
    for regime in (*regimes, "untrained") if training else ():
        made.training(None, regime, 0.3, own=False)
        made.add("task", None, regime, 0.9, measure="auroc")
    made.estimates = [e.model_copy(update={"group": group}) if e.group == "b minus a" else e for e in made.estimates]
    controls = tuple(
        Control(id=f"C{i}", kind=kind, channel="used", attribute=attributes[0], regime=regimes[0], site=sites[-1], passed=i != 1, detail="")
        for i, kind in enumerate(("negative", "positive", "random_subspace"))
    )
    entries = [{"name": name, "kind": "real" if name == "real" else "synthetic", "of": None, "ratio": None} for name in regimes]
    if len(regimes) > 2:
        entries[-1] |= {"kind": "mixed", "of": regimes[1], "ratio": 0.5}
    plan = {
        "regimes": entries,
        "seeds": 3,
        "references": ["untrained", "reweighed", "placebo", "inputs", "floor"],
        "sites": {"verdict": [sites[-1]], "profile": list(sites)},
        "attributes": [{"name": name, "kind": "binary", "levels": ["a", "b"]} for name in attributes],
        "margins": {"leak": 0.02, "nonlinear": 0.1, "gap": 0.05, "effect": 0.02, "relearned": 0.05},
        "rows": {"train": 20000, "audit": 6000, "training_size": 20000},
    }
    run = RunInfo(id="abc123", name="large", status="complete", plan_digest="d" * 64, versions={"proxyaudit": "0"}, seed=0)
    untested = (NotTested(what="readers that nobody has thought of", why="nobody has"),)
    evidence = Evidence(run=run, findings=tuple(findings), estimates=tuple(made.estimates), controls=controls, not_tested=untested)
    return EvidencePack(evidence, plan, {"name": "large"}, {"started": "2026-11-23T12:00:00Z"}, {})
