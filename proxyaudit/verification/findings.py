"""Findings made again from estimates, controls and plan: verdict, words of change and origin, references."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from proxyaudit.estimates.verdicts import Decision, change_word, combine, decide, encoding_word
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.types import CHANNELS, Basis, ChangeWord, Estimate, Finding, OriginWord, State
from proxyaudit.verification.states import deciding

__all__ = ["PackView", "completeness_problems", "finding_problems"]

_BARE_NOT_APPLICABLE = ("elsewhere", "expressed", "used", "relearned")
_ROUNDING = 6e-6
_ANY = "*"


class PackView:
    """A pack as verification needs it: whose activations, which attributes, regimes and sites."""

    def __init__(self, pack: EvidencePack) -> None:
        """Read the plan as far as it has the expected form."""
        self.pack, self.evidence, self.plan = pack, pack.evidence, pack.plan
        self.regimes = [str(entry.get("name")) for entry in _entries(self.plan, "regimes")]
        kinds = {entry.get("kind") for entry in _entries(self.plan, "regimes")}
        self.bare = "activations" in kinds
        # Audits of what a language model says: only the channels that it asked can be decided again.
        self.prompts = "prompts" in kinds
        self.attributes = {str(entry.get("name")): str(entry.get("role")) for entry in _entries(self.plan, "attributes")}
        sites = self.plan.get("sites")
        sites = sites if isinstance(sites, dict) else {}
        self.verdict_sites = [str(site) for site in sites.get("verdict") or ()]
        self.profile = [str(site) for site in sites.get("profile") or ()]
        margins = self.plan.get("margins")
        self.margins: dict[str, Any] = margins if isinstance(margins, dict) else {}
        self.no_absence = [str(name) for name in self.plan.get("no_absence") or ()]
        self.conditions = [str(name) for name in self.plan.get("condition_on") or ()]
        self.real = (str(pack.recipe["real"]) if pack.recipe.get("real") else None) if self.bare else "real"

    def own(self, attribute: str, regime: str) -> list[Estimate]:
        """Deciding estimates of one attribute in one regime."""
        return [e for e in deciding(self.evidence.estimates) if (e.attribute, e.regime) == (attribute, regime)]

    def find(self, channel: str, attribute: str, regime: str, **where: str | None) -> Estimate | None:
        """First estimate with these coordinates."""
        for e in self.evidence.estimates:
            if (e.channel, e.attribute, e.regime) == (channel, attribute, regime) and all(getattr(e, k) == v for k, v in where.items()):
                return e
        return None

    def decision(self, attribute: str, regime: str) -> tuple[dict[str, State], Decision]:
        """Channel states combined over cells, and what they amount to."""
        own = self.own(attribute, regime)
        states: dict[str, State] = {}
        for channel in CHANNELS:
            found = [e.state for e in own if e.channel == channel and e.state is not None]
            if self.bare and (channel in _BARE_NOT_APPLICABLE or (channel == "beyond" and not self.conditions)):
                states[channel] = "not_applicable"
            else:
                # Only a model without other sites has no elsewhere; any other channel without a number was forgotten.
                lacks: State = "not_applicable" if channel == "elsewhere" and not self.prompts else "unknown"
                states[channel] = combine(found) if found else lacks
        return states, decide(states, surface="activations" if self.bare else "outputs")

    def strongest_linear(self, attribute: str, regime: str) -> Estimate | None:
        """The strongest linear leak at a verdict site (of activations: quarters of a number too)."""
        found = [
            e
            for e in self.evidence.estimates
            if (e.channel, e.attribute, e.regime) == ("linear", attribute, regime) and (self.bare or e.context is None)
        ]
        return _strongest(found)


def _entries(plan: dict[str, Any], key: str) -> list[dict[str, Any]]:
    found = plan.get(key)
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _strongest(estimates: list[Estimate]) -> Estimate | None:
    return max(estimates, key=lambda e: float("-inf") if e.value is None else e.value) if estimates else None


def completeness_problems(view: PackView) -> list[str]:
    """Findings and deciding estimates that the plan asks for and the evidence lacks."""
    asked = {name for name in view.pack.recipe.get("attributes") or () if isinstance(name, str)} if view.bare else set()
    wanted = [(name, regime) for name in view.attributes for regime in view.regimes]
    unfit = [(name, regime) for name in sorted(asked - set(view.attributes)) for regime in view.regimes]
    found = [(f.attribute, f.regime) for f in view.evidence.findings]
    problems = [f"evidence.json: the finding on {a!r} in {r!r} is missing" for a, r in (*wanted, *unfit) if (a, r) not in found]
    problems += [f"evidence.json: the plan asks for no finding on {a!r} in {r!r}" for a, r in found if (a, r) not in (*wanted, *unfit)]
    if len(set(found)) != len(found):
        problems.append("evidence.json: a finding is given twice")
    for attribute, regime in wanted:
        cells = [(e.channel, e.site, e.context) for e in view.own(attribute, regime)]
        for channel, site, context in [] if view.prompts else _needed(view):
            if not any(c == channel and site in (s, _ANY) and context in (x, _ANY) for c, s, x in cells):
                problems.append(f"evidence.json: no {channel} estimate of {attribute!r} in {regime!r} at {site or 'the outputs'}")
    return problems


def _needed(view: PackView) -> list[tuple[str, str | None, str | None]]:
    """Channel, site and context of the estimates that every finding rests on."""
    channels = ("linear", "nonlinear") if view.bare else ("linear", "nonlinear", "used")
    needed: list[tuple[str, str | None, str | None]] = [
        (channel, site, _ANY if channel == "used" else None) for channel in channels for site in view.verdict_sites
    ]
    if view.bare:
        return needed + [("beyond", site, _ANY) for site in view.verdict_sites if view.conditions]
    for site in view.verdict_sites:
        needed += [("beyond", site, "beyond the label"), ("beyond", site, "beyond the label, nonlinear")]
    needed += [("elsewhere", site, how) for site in view.profile if site not in view.verdict_sites for how in (None, "nonlinear")]
    needed += [("expressed", None, what) for what in ("gap", "output leak", "output leak, nonlinear")]
    return [*needed, ("relearned", _ANY, _ANY)]


def finding_problems(view: PackView) -> Iterator[str]:
    """What in the findings does not follow from the estimates, controls and plan."""
    for finding in view.evidence.findings:
        where = f"evidence.json: finding {finding.attribute!r} in {finding.regime!r}"
        if finding.attribute not in view.attributes:
            if view.bare and (finding.verdict, finding.at_least, finding.decided_by) != ("inconclusive", None, ()):
                yield f"{where}: it was not measured, so the verdict is inconclusive, not {finding.verdict}"
            continue
        states, decision = view.decision(finding.attribute, finding.regime)
        pairs: dict[str, tuple[Any, Any]] = {
            key: (getattr(finding, key), getattr(decision, key))
            for key in ("verdict", "at_least", "encoding", "use", "recoverable", "mechanisms")
        }
        pairs["role"] = (finding.role, view.attributes[finding.attribute])
        own = view.own(finding.attribute, finding.regime)
        decided = tuple(e.id for e in own if e.channel in decision.mechanisms and e.state in ("present", "absent"))
        pairs["decided_by"] = (finding.decided_by, decided)
        about = (finding.attribute,) if view.bare else (finding.attribute, None)
        refs = tuple(c.id for c in view.evidence.controls if c.regime == finding.regime and c.attribute in about)
        pairs["control_refs"] = (finding.control_refs, refs)
        if view.prompts:
            yield from (f"{where}: {key} is {_shown(a)}, the evidence says {_shown(b)}" for key, (a, b) in pairs.items() if a != b)
            continue
        change, use, retention = _change(view, finding, decision)
        pairs["change.encoding"] = (finding.change.encoding, change)
        pairs["change.use"] = (finding.change.use, use)
        pairs["retention"] = (finding.retention, retention)
        for key, (said, made) in pairs.items():
            if said != made:
                yield f"{where}: {key} is {_shown(said)}, the evidence says {_shown(made)}"
        words: dict[str, tuple[Any, set[Any]]] = {
            "basis": _basis(view, finding, states, decision),
            **_origins(view, finding, states, decision),
        }
        for key, (said, allowed) in words.items():
            if said not in allowed:
                yield f"{where}: {key} is {_shown(said)}, the evidence says {' or '.join(sorted(_shown(word) for word in allowed))}"


def _shown(value: Any) -> str:
    return "nothing" if value in (None, ()) else ", ".join(value) if isinstance(value, tuple) else str(value)


def _basis(view: PackView, finding: Finding, states: dict[str, State], decision: Decision) -> tuple[Basis | None, set[Basis | None]]:
    said = finding.basis
    if view.bare:
        words: dict[State, Basis] = {"present": "beyond_label", "absent": "explained_by_label"}
        speaks = decision.verdict == "exposed" and bool(view.conditions)
        return said, {words.get(states["beyond"], "unknown") if speaks else None}
    if "expressed" not in decision.use:
        return said, {None}
    within = view.find("expressed", finding.attribute, finding.regime, context="gap within label")
    if within is None or within.value is None:
        return said, {"unknown", None} if within is None else {"unknown"}
    if within.p_present is None or within.p_absent is None:
        return said, {"beyond_label", "explained_by_label", "unknown"}  # the first packs do not tell
    gap = view.find("expressed", finding.attribute, finding.regime, context="gap")
    if within.p_present <= 0.05:
        return said, {"beyond_label"}
    explained = within.p_absent <= 0.05 and gap is not None and gap.state == "present"
    return said, {"explained_by_label" if explained else "unknown"}


def _origins(
    view: PackView, finding: Finding, states: dict[str, State], decision: Decision
) -> dict[str, tuple[OriginWord, set[OriginWord]]]:
    said = finding.origin
    if view.bare:
        encoding: OriginWord = "unknown" if decision.encoding == "linear" else "not_applicable"
        return {"origin.encoding": (said.encoding, {encoding}), "origin.use": (said.use, {"not_applicable"})}
    gap = view.find("expressed", finding.attribute, finding.regime, context="gap")
    inside = view.strongest_linear(finding.attribute, finding.regime)
    return {
        "origin.encoding": (said.encoding, _origin(view, finding, "encoding", inside, states["linear"] == "present")),
        "origin.use": (said.use, _origin(view, finding, "use", gap, "expressed" in decision.use)),
    }


def _origin(view: PackView, finding: Finding, what: str, number: Estimate | None, applies: bool) -> set[OriginWord]:
    if not applies:
        return {"not_applicable"}
    found = [
        e
        for e in view.evidence.estimates
        if (e.channel, e.attribute, e.regime) == ("origin", finding.attribute, finding.regime) and (e.context or "").startswith(f"{what}: ")
    ]
    if not found or number is None or number.margin is None:
        told = any(e.channel == "origin" for e in view.evidence.estimates)
        return {"relayed"} if told else {"learned", "relayed"}  # the first packs do not tell
    lows = [e.low for e in found]
    if len(lows) < 2 or any(low is None for low in lows):
        return {"relayed"}
    worst = min(low for low in lows if low is not None)
    if abs(worst - number.margin) <= _ROUNDING:
        return {"learned", "relayed"}
    return {"learned" if worst > number.margin else "relayed"}


def _change(view: PackView, finding: Finding, decision: Decision) -> tuple[ChangeWord, ChangeWord, str | None]:
    """Words of change for encoding and use, and the id of the ratio."""
    regime, real = finding.regime, view.real
    rest: ChangeWord = "not_applicable"
    if regime == real:
        return "not_applicable", rest, None
    if real is None or real not in view.regimes:
        return "unknown", "not_applicable" if view.bare else "unknown", None
    word, ratio = _compared(view, finding, "encoding", decision)
    if view.bare:
        return word, "not_applicable", ratio
    use, _ = _compared(view, finding, "use", decision)
    return word, use, ratio


def _compared(view: PackView, finding: Finding, what: str, decision: Decision) -> tuple[ChangeWord, str | None]:
    name, regime = finding.attribute, finding.regime
    difference = view.find("change", name, regime, context=f"{what}: difference to real training")
    ratio = view.find("retention", name, regime, context=f"{what}: ratio to real training")
    if difference is None or difference.low is None or difference.high is None:
        return "unknown", None
    mine, theirs = _compared_numbers(view, finding, what, difference.site)
    if mine is None or theirs is None or theirs.margin is None:
        return "unknown", None
    if difference.reason is not None and what == "use":
        return "unknown", None
    shown = None
    if ratio is not None and ratio.value is not None and ratio.low is not None and ratio.high is not None:
        shown = (ratio.value, ratio.low, ratio.high)
    word = change_word(mine.state, theirs.state, theirs.margin, (difference.low, difference.high), shown)
    if what == "encoding":
        word = encoding_word(word, decision)
    elif word == "reduced" and decision.use == ("none",):
        word = "eliminated"
    return word, ratio.id if ratio is not None else None


def _compared_numbers(view: PackView, finding: Finding, what: str, site: str | None) -> tuple[Estimate | None, Estimate | None]:
    """The number of the regime and that of real training which a difference is about."""
    name, regime, real = finding.attribute, finding.regime, view.real or ""
    if view.bare:
        present = {e.channel for e in view.own(name, real) if e.state == "present"}
        channel = "nonlinear" if "nonlinear" in present and "linear" not in present else "linear"
        return view.find(channel, name, regime, site=site), view.find(channel, name, real, site=site)
    if what == "encoding":
        mine = view.strongest_linear(name, regime)
        return mine, view.find("linear", name, real, site=mine.site, context=None) if mine is not None else None
    gaps = [view.find("expressed", name, where, context="gap") for where in (regime, real)]
    read = [view.find("expressed", name, where, context="output leak") for where in (regime, real)]
    shows = any(e is not None and e.state == "present" for e in gaps)
    chosen = read if not shows and any(e is not None and e.state == "present" for e in read) else gaps
    return chosen[0], chosen[1]
