"""From a pack to what a report shows: a pure view that HTML, Markdown and the terminal share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from proxyaudit.estimates.questions import names_of
from proxyaudit.evidence.pack import EvidencePack, run_date
from proxyaudit.evidence.plans import entries, has_kind, listed, mapping, margins_of, sites_of
from proxyaudit.reporting.lookup import Lookup
from proxyaudit.reporting.sentences import answer, lead, question
from proxyaudit.reporting.words import VERDICTS, VERDICTS_OF_ACTIVATIONS, VerdictWord, checks
from proxyaudit.types import REFERENCES, Control, Estimate, Finding

MANY = 4
_SHOWN_REFERENCES = ("untrained", "reweighed", "placebo", "inputs")
_STRONGER = ("nonlinear", "beyond")
_BESIDE_EFFECTS = ("amnesic", "mediation", "completeness", "selectivity")


@dataclass(frozen=True)
class Row:
    """One line of the deciding figures: a regime with its finding, or a reference without one."""

    regime: str
    finding: Finding | None
    leak: Estimate | None
    gap: Estimate | None
    effect: Estimate | None = None
    states: Mapping[str, str] = field(default_factory=dict)
    placebo_leak: Estimate | None = None
    placebo_gap: Estimate | None = None
    # The second number that the outputs are judged by; shown where it decides beside the gap.
    output_leak: Estimate | None = None
    # What a stronger reader finds where a linear one finds nothing.
    stronger: Estimate | None = None
    # Ratios to training on the real data.
    kept_inside: Estimate | None = None
    kept_outside: Estimate | None = None
    # Rows that would show absence, where there are too few.
    rows_needed: int | None = None


@dataclass(frozen=True)
class Series:
    """Linear leak of one regime or reference along the sites."""

    name: str
    points: tuple[tuple[str, Estimate], ...]


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
    levels: tuple[str, ...]
    lead: str
    answer: str
    rows: tuple[Row, ...]
    references: tuple[Row, ...]
    profile: Profile
    numbers: tuple[Estimate, ...]

    def of(self, *channels: str) -> tuple[Estimate, ...]:
        """Its numbers of these channels."""
        return tuple(e for e in self.numbers if e.channel in channels)

    @property
    def effects(self) -> tuple[Estimate, ...]:
        """Its effects, and the measures that stand beside them: erasing, share through the subspace, completeness, selectivity."""
        return (*self.of("used"), *self.of(*_BESIDE_EFFECTS))


@dataclass(frozen=True)
class Summary:
    """What a report shows, in reading order; ``bare`` where activations were given and no model."""

    question: str
    bare: bool
    date: str
    verdicts: Mapping[str, VerdictWord]
    regimes: tuple[str, ...]
    attributes: tuple[AttributeView, ...]
    task: tuple[Estimate, ...]
    margins: dict[str, float]


def summarize(pack: EvidencePack) -> Summary:
    """Arrange a pack for reading. Pure: the same pack gives the same summary."""
    evidence, plan = pack.evidence, pack.plan
    described = {str(entry.get("name")): entry for entry in entries(plan, "attributes")}
    roles: dict[str, str] = {finding.attribute: finding.role for finding in evidence.findings}
    # Protected attributes first, then in the order of the plan, then of the findings.
    order = {name: index for index, name in enumerate([*described, *roles])}
    names = sorted(roles, key=lambda name: (roles[name] != "protected", order[name]))
    planned = [str(entry.get("name")) for entry in entries(plan, "regimes")]
    regimes = tuple(name for name in dict.fromkeys([*planned, *(f.regime for f in evidence.findings)]) if name not in REFERENCES)
    bare, asked = has_kind(plan, "activations"), has_kind(plan, "prompts")
    words, lookup = VERDICTS_OF_ACTIVATIONS if bare else VERDICTS, Lookup(evidence)
    views = []
    for name in names:
        mine = _Mine(name, lookup, sites_of(plan, "verdict"), {f.regime: f for f in evidence.findings if f.attribute == name})
        findings = [mine.findings[regime] for regime in regimes if regime in mine.findings]
        seen = {e.regime for e in lookup.of(name)}
        view = AttributeView(
            name=name,
            role=roles[name],
            levels=tuple(str(level) for level in listed(described.get(name, {}), "levels")),
            lead=lead(findings, bare=bare, asked=asked),
            # With many attributes the reader needs them side by side, and the matrix explains the words.
            answer=answer(findings, words, brief=len(names) > MANY, asked=asked),
            rows=tuple(mine.row(regime) for regime in regimes if regime in mine.findings or regime in seen),
            references=tuple(mine.reference(regime, regimes) for regime in _SHOWN_REFERENCES if regime in seen),
            profile=_profile(lookup.of(name), plan, regimes),
            numbers=tuple(lookup.of(name)),
        )
        views.append(view)
    protected = [name for name in names if roles[name] == "protected"] or names
    return Summary(
        question=question(protected, bare=bare, asked=asked, data=_instead(pack)),
        bare=bare,
        date=run_date(pack.environment),
        verdicts=words,
        regimes=regimes,
        attributes=tuple(views),
        task=tuple(lookup.of(None)),
        margins=margins_of(plan),
    )


def count_controls(controls: Iterable[Control]) -> dict[tuple[str, str], dict[bool | None, int]]:
    """Kind and channel of the controls -> how many passed, failed and were not run, in order of first appearance."""
    counts: dict[tuple[str, str], dict[bool | None, int]] = {}
    for control in controls:
        counts.setdefault((control.kind, control.channel), {True: 0, False: 0, None: 0})[control.passed] += 1
    return counts


@dataclass(frozen=True)
class _Mine:
    """What there is of one attribute, for its lines."""

    name: str
    lookup: Lookup
    sites: tuple[str, ...]
    findings: Mapping[str, Finding]

    def row(self, regime: str) -> Row:
        """The line of a regime."""
        lookup, name = self.lookup, self.name
        states = {channel: lookup.state(name, regime, channel) for channel in checks(bare=False)}
        stronger = next((channel for channel in _STRONGER if states.get(channel) == "present"), None)
        if states.get("linear") == "present":
            stronger = None
        finding = self.findings.get(regime)
        # Where it is at least hidden, what is open is whether it shows or acts.
        open_ones = names_of("use") if finding is not None and finding.at_least else checks(bare=False)
        output_leaks = (e for e in lookup.numbers(name, regime, "expressed") if e.measure == "output_leak" and e.state)
        return Row(
            regime=regime,
            finding=finding,
            leak=lookup.deciding(name, regime, "linear", self.sites),
            gap=lookup.deciding(name, regime, "expressed"),
            effect=lookup.deciding(name, regime, "used"),
            states=states,
            placebo_leak=self._placebo_leak(regime),
            placebo_gap=self._placebo_gap(regime),
            output_leak=next(output_leaks, None),
            stronger=lookup.deciding(name, regime, stronger, self.sites) if stronger else None,
            kept_inside=lookup.first(name, regime, "retention", "encoding_ratio"),
            kept_outside=lookup.first(name, regime, "retention", "use_ratio"),
            rows_needed=lookup.rows_needed(name, regime, open_ones),
        )

    def reference(self, regime: str, regimes: tuple[str, ...]) -> Row:
        """The line of a reference; one for all placebos: those of real training, else of the first regime that has some."""
        if regime != "placebo":
            return self.row(regime)
        order = ("real", *regimes)
        leak = next((e for one in order if (e := self._placebo_leak(one)) is not None), None)
        gap = next((e for one in order if (e := self._placebo_gap(one)) is not None), None)
        return Row(regime, None, leak, gap)

    def _placebo_leak(self, regime: str) -> Estimate | None:
        return self.lookup.placebo(self.name, regime, "linear", "leak", self.sites)

    def _placebo_gap(self, regime: str) -> Estimate | None:
        return self.lookup.placebo(self.name, regime, "expressed", "gap")


def _instead(pack: EvidencePack) -> str:
    """What models were trained on instead of the real data: of texts, scrubbed ones too."""
    if mapping(pack.recipe, "data").get("text") is None:
        return "synthetic data"
    kinds = {str(entry.get("kind")) for entry in entries(pack.plan, "regimes")}
    words = [word for word, meant in (("scrubbed", {"scrubbed"}), ("synthetic", {"synthetic", "release", "mixed"})) if kinds & meant]
    return f"{' or '.join(words)} texts" if words else "synthetic data"


def _profile(mine: Iterable[Estimate], plan: Mapping[str, Any], regimes: tuple[str, ...]) -> Profile:
    linear = [e for e in mine if e.channel in ("linear", "elsewhere") and e.site is not None and e.value is not None and e.group is None]
    found = [str(e.site) for e in linear]
    inputs = [str(e.site) for e in linear if e.regime == "inputs"]
    planned = [*sites_of(plan, "profile"), *sites_of(plan, "verdict")]
    sites = tuple(site for site in dict.fromkeys([*inputs, *planned, *found]) if site in set(found))
    series: list[Series] = []
    # The plain number of a site; "elsewhere" repeats "linear" outside the verdict sites.
    ordered = sorted(linear, key=lambda e: (e.measure != "leak", e.channel != "linear"))
    for name in (*regimes, "untrained", "reweighed", "inputs"):
        points: dict[str, Estimate] = {}
        for e in ordered:
            if e.regime == name:
                points.setdefault(str(e.site), e)
        if points:
            series.append(Series(name, tuple((site, points[site]) for site in sites if site in points)))
    plain = [e for e in linear if e.measure == "leak"]
    # The band speaks about trained models: untrained ones relay more.
    placebos = [(e, e.value) for e in plain if e.regime == "placebo" and (e.reference_for is None or e.reference_for in regimes)]
    own = [e for e in plain if e.regime in regimes]
    floor, detection = ([(e, getattr(e, key)) for e in own] for key in ("null_high", "detection_limit"))
    return Profile(sites, tuple(series), _largest(placebos), margins_of(plan).get("leak"), _largest(floor), _largest(detection))


def _largest(found: Iterable[tuple[Estimate, float | None]]) -> dict[str, float]:
    """The largest value at each site, and none below zero."""
    largest: dict[str, float] = {}
    for e, value in found:
        if value is not None:
            largest[str(e.site)] = max(largest.get(str(e.site), 0.0), value)
    return largest
