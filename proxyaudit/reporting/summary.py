"""From a pack to what a report shows: a pure view that HTML, Markdown and the terminal share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from proxyaudit.estimates.questions import deciding_names
from proxyaudit.evidence.listing import run_date
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.reporting.lookup import Lookup, belongs, channel_state, deciding
from proxyaudit.reporting.sentences import answer, lead, question
from proxyaudit.reporting.words import VERDICTS, VERDICTS_OF_ACTIVATIONS, VerdictWord
from proxyaudit.types import REFERENCES, Control, Estimate, Finding

__all__ = ["MANY", "AttributeView", "Profile", "Row", "Series", "Summary", "summarize", "was_asked"]

MANY = 4
_SHOWN_REFERENCES = ("untrained", "reweighed", "placebo", "inputs")


@dataclass(frozen=True)
class Row:
    """One line of the deciding figures: a regime with its finding, or a reference without one."""

    regime: str
    finding: Finding | None
    leak: Estimate | None
    gap: Estimate | None
    effect: Estimate | None
    states: dict[str, str]
    placebo_leak: Estimate | None = None
    placebo_gap: Estimate | None = None
    # The second number that the outputs are judged by; shown where it decides beside the gap.
    output_leak: Estimate | None = None
    # What a stronger reader finds where a linear one finds nothing.
    stronger: Estimate | None = None
    # Ratios to training on the real data.
    kept_inside: Estimate | None = None
    kept_outside: Estimate | None = None


@dataclass(frozen=True)
class Series:
    """Linear leak of one regime or reference along the sites."""

    name: str
    points: tuple[tuple[str, Estimate], ...]

    @property
    def is_reference(self) -> bool:
        """Whether the series is a reference rather than a regime."""
        return self.name in REFERENCES


@dataclass(frozen=True)
class Profile:
    """Linear leak along the model for one attribute."""

    sites: tuple[str, ...]
    series: tuple[Series, ...]
    band: dict[str, float]
    margin: float | None
    # Site -> 95th percentile under permuted labels, and smallest leak surely found: the largest of all regimes.
    floor: dict[str, float] = field(default_factory=dict)
    detection: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class AttributeView:
    """Everything about one attribute."""

    name: str
    role: str
    kind: str
    levels: tuple[str, ...]
    lead: str
    answer: str
    rows: tuple[Row, ...]
    references: tuple[Row, ...]
    profile: Profile
    expressed: tuple[Estimate, ...]
    used: tuple[Estimate, ...]
    effort: tuple[Estimate, ...] = ()
    relearned: tuple[Estimate, ...] = ()
    # Measures that stand beside the effects: erasing, share through the subspace, completeness, selectivity.
    beside_effects: tuple[Estimate, ...] = ()


@dataclass(frozen=True)
class Summary:
    """What a report shows, in reading order; ``bare`` where activations were given and no model."""

    question: str
    bare: bool
    date: str
    verdicts: dict[str, VerdictWord]
    regimes: tuple[str, ...]
    attributes: tuple[AttributeView, ...]
    task: tuple[Estimate, ...]
    failed: tuple[Control, ...]
    margins: dict[str, float]
    controls: tuple[tuple[str, str, int, int, int], ...]


def summarize(pack: EvidencePack) -> Summary:
    """Arrange a pack for reading. Pure: the same pack gives the same summary."""
    evidence = pack.evidence
    described = {str(entry.get("name")): entry for entry in _entries(pack.plan, "attributes")}
    roles: dict[str, str] = {finding.attribute: finding.role for finding in evidence.findings}
    # Protected attributes first, then in the order of the plan, then of the findings.
    order = {name: index for index, name in enumerate([*described, *roles])}
    names = sorted(roles, key=lambda name: (roles[name] != "protected", order[name]))
    regimes = tuple(dict.fromkeys([*(str(r.get("name")) for r in _entries(pack.plan, "regimes")), *(f.regime for f in evidence.findings)]))
    regimes = tuple(name for name in regimes if name not in REFERENCES)
    bare = any(entry.get("kind") == "activations" for entry in _entries(pack.plan, "regimes"))
    words = VERDICTS_OF_ACTIVATIONS if bare else VERDICTS
    lookup = Lookup(evidence)
    # With many attributes the reader needs them side by side, and the matrix explains the words.
    brief = len(names) > MANY
    views = tuple(_attribute(name, roles[name], described.get(name, {}), pack, lookup, regimes, words, brief=brief) for name in names)
    margins = pack.plan.get("margins")
    margins = margins if isinstance(margins, dict) else {}
    return Summary(
        question=question(
            [name for name in names if roles[name] == "protected"] or names, bare=bare, asked=was_asked(pack.plan), data=_instead(pack)
        ),
        bare=bare,
        date=run_date(pack.environment),
        verdicts=words,
        regimes=regimes,
        attributes=views,
        task=tuple(e for e in evidence.estimates if e.attribute is None),
        failed=tuple(c for c in evidence.controls if c.passed is False),
        margins={str(key): float(value) for key, value in margins.items() if isinstance(value, int | float)},
        controls=_count_controls(evidence.controls),
    )


def _instead(pack: EvidencePack) -> str:
    """What models were trained on instead of the real data: of texts, scrubbed ones too."""
    data = pack.recipe.get("data")
    if not isinstance(data, dict) or data.get("text") is None:
        return "synthetic data"
    kinds = {str(entry.get("kind")) for entry in _entries(pack.plan, "regimes")}
    words = [word for word, meant in (("scrubbed", {"scrubbed"}), ("synthetic", {"synthetic", "release", "mixed"})) if kinds & meant]
    return f"{' or '.join(words)} texts" if words else "synthetic data"


def was_asked(plan: Mapping[str, Any]) -> bool:
    """Whether a language model was asked, instead of a model trained."""
    return any(entry.get("kind") == "prompts" for entry in _entries(plan, "regimes"))


def _attribute(
    name: str,
    role: str,
    described: Mapping[str, Any],
    pack: EvidencePack,
    lookup: Lookup,
    regimes: tuple[str, ...],
    words: Mapping[str, VerdictWord],
    *,
    brief: bool,
) -> AttributeView:
    mine = tuple(lookup.of(name))
    findings = {f.regime: f for f in pack.evidence.findings if f.attribute == name}
    sites = _verdict_sites(pack.plan)
    seen = {e.regime for e in mine}

    def row(regime: str) -> Row:
        states = {channel: channel_state(lookup, name, regime, channel) for channel in deciding_names()}
        stronger = next((channel for channel in ("nonlinear", "beyond") if states[channel] == "present"), None)
        return Row(
            regime=regime,
            finding=findings.get(regime),
            leak=deciding(lookup, name, regime, "linear", sites),
            gap=deciding(lookup, name, regime, "expressed"),
            effect=deciding(lookup, name, regime, "used"),
            states=states,
            stronger=deciding(lookup, name, regime, stronger, sites) if stronger and states["linear"] != "present" else None,
            placebo_leak=_placebo(lookup.cell(name, "placebo", "linear"), regime, sites),
            placebo_gap=_placebo(lookup.cell(name, "placebo", "expressed"), regime, ()),
            output_leak=next((e for e in lookup.cell(name, regime, "expressed") if e.context == "output leak" and e.state), None),
            kept_inside=lookup.retention(name, regime, "encoding"),
            kept_outside=lookup.retention(name, regime, "use"),
        )

    def reference(regime: str) -> Row:
        if regime != "placebo":
            return row(regime)
        # One line for all placebos: those of real training, else of the first regime that has some.
        leaks, gaps = (
            [_placebo(lookup.cell(name, "placebo", channel), where, sites_asked) for where in ("real", *regimes)]
            for channel, sites_asked in (("linear", sites), ("expressed", ()))
        )
        leak, gap = (next((e for e in found if e is not None), None) for found in (leaks, gaps))
        return Row(regime, None, leak, gap, None, {})

    levels = described.get("levels")
    return AttributeView(
        name=name,
        role=role,
        kind=str(described.get("kind", "")),
        levels=tuple(str(level) for level in levels) if isinstance(levels, list | tuple) else (),
        lead=lead([findings[regime] for regime in regimes if regime in findings], bare=words is not VERDICTS, asked=was_asked(pack.plan)),
        answer=answer((findings[regime] for regime in regimes if regime in findings), words, brief=brief, asked=was_asked(pack.plan)),
        rows=tuple(row(regime) for regime in regimes if regime in findings or regime in seen),
        references=tuple(reference(regime) for regime in _SHOWN_REFERENCES if regime in seen),
        profile=_profile(mine, pack.plan, regimes),
        expressed=tuple(e for e in mine if e.channel == "expressed"),
        used=tuple(e for e in mine if e.channel == "used"),
        effort=tuple(e for e in mine if e.channel == "effort"),
        relearned=tuple(e for e in mine if e.channel == "relearned"),
        beside_effects=tuple(e for e in mine if e.channel in ("amnesic", "mediation", "completeness", "selectivity")),
    )


def _placebo(placebos: Iterable[Estimate], regime: str, sites: Iterable[str]) -> Estimate | None:
    """Return the number of the placebos of ``regime``, if the pipeline made one."""
    wanted = set(sites)
    found = [e for e in placebos if belongs(e, regime) and (not wanted or e.site in wanted)]
    # Of the outputs' placebos the gap, not the leak.
    found.sort(key=lambda e: not str(e.context).endswith("gap"))
    return found[0] if found else None


def _profile(mine: tuple[Estimate, ...], plan: Mapping[str, Any], regimes: tuple[str, ...]) -> Profile:
    linear = [e for e in mine if e.channel in ("linear", "elsewhere") and e.site is not None and e.value is not None and e.group is None]
    planned = plan.get("sites") if isinstance(plan.get("sites"), dict) else {}
    listed = [str(site) for key in ("profile", "verdict") for site in (planned or {}).get(key, ())]
    found = {str(e.site) for e in linear}
    inputs = [str(e.site) for e in linear if e.regime == "inputs"]
    sites = tuple(site for site in dict.fromkeys([*inputs, *listed, *(str(e.site) for e in linear)]) if site in found)
    series: list[Series] = []
    for name in (*regimes, "untrained", "reweighed", "inputs"):
        # The plain number of a site; "elsewhere" repeats "linear" outside the verdict sites.
        points: dict[str, Estimate] = {}
        for e in sorted((e for e in linear if e.regime == name), key=lambda e: (e.context is not None, e.channel != "linear", e.id)):
            points.setdefault(str(e.site), e)
        if points:
            series.append(Series(name, tuple((site, points[site]) for site in sites if site in points)))
    band: dict[str, float] = {}
    # The band speaks about trained models: untrained ones relay more.
    for e in (e for e in linear if e.regime == "placebo" and (not e.context or any(belongs(e, regime) for regime in regimes))):
        band[str(e.site)] = max(band.get(str(e.site), 0.0), float(e.value or 0.0))
    floor: dict[str, float] = {}
    detection: dict[str, float] = {}
    for e in (e for e in linear if e.regime in regimes and e.context is None):
        for known, value in ((floor, e.null_high), (detection, e.detection_limit)):
            if value is not None:
                known[str(e.site)] = max(known.get(str(e.site), 0.0), value)
    margins = plan.get("margins")
    margin = margins.get("leak") if isinstance(margins, dict) else None
    return Profile(sites, tuple(series), band, float(margin) if isinstance(margin, int | float) else None, floor, detection)


def _count_controls(controls: Iterable[Control]) -> tuple[tuple[str, str, int, int, int], ...]:
    """Return (kind, channel, passed, failed, not run) in order of first appearance."""
    counts: dict[tuple[str, str], dict[bool | None, int]] = {}
    for control in controls:
        mine = counts.setdefault((control.kind, control.channel), {True: 0, False: 0, None: 0})
        mine[control.passed] += 1
    return tuple((kind, channel, mine[True], mine[False], mine[None]) for (kind, channel), mine in counts.items())


def _verdict_sites(plan: Mapping[str, Any]) -> tuple[str, ...]:
    sites = plan.get("sites")
    verdict = sites.get("verdict", ()) if isinstance(sites, dict) else ()
    return tuple(str(site) for site in verdict)


def _entries(plan: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """Return the mappings of a list in the plan; a pack of another version may lack it."""
    value = plan.get(key)
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list | tuple) else []
