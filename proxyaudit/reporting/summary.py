"""From a pack to what a report shows: a pure view that HTML, Markdown and the terminal share."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from proxyaudit.data.cures import real_share
from proxyaudit.estimates.numbers import Numbers as Published
from proxyaudit.estimates.numbers import largest_bound
from proxyaudit.estimates.scope import entries, has_kind, kinds_of, listed, margins_of, read_scope, sites_of
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.reporting.scale import Scale
from proxyaudit.reporting.training import Inside, Pair, TriedView, inside_of, oriented, pair_of, reweighed, tried_of
from proxyaudit.reporting.words import REAL, VERDICTS, VERDICTS_OF_ACTIVATIONS, VerdictWord, answer, beside_lead, checks, lead, question
from proxyaudit.types import REFERENCES, ROLES, Control, Estimate, Finding

MANY = 4
_SHOWN_REFERENCES = ("untrained", "reweighed", "placebo", "inputs")
_READERS = ("linear", "nonlinear")
_STRONGER = ("nonlinear", "beyond")
_PLAIN = ("leak", "leak_nonlinear", "gap", "effect", "learned_effect", "excess")


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
    output_leak: Estimate | None = None  # the second number that outputs are judged by; shown where it decides beside the gap
    stronger: Estimate | None = None  # what a stronger reader finds where a linear one finds nothing
    kept_inside: Estimate | None = None  # both are ratios to training on the real data
    kept_outside: Estimate | None = None
    bounds: Mapping[str, float] = field(default_factory=dict)  # by check that found nothing: the smallest leak certified absent
    task: Estimate | None = None  # how well the models do what they are for
    tried: tuple[TriedView, ...] = ()


class Profile(NamedTuple):
    """Linear leak along the model for one attribute: of regimes and references (``series``), placebos (``band``) and chance (``floor``)."""

    sites: tuple[str, ...]
    series: dict[str, dict[str, Estimate]]
    band: dict[str, float]
    margin: float | None
    floor: dict[str, float]  # the 95th percentile under permuted labels; like the next of all regimes the largest at each site
    detection: dict[str, float]  # the smallest leak surely found


class AttributeView(NamedTuple):
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
    inside: Inside | None = None
    pair: Pair | None = None  # the groups that gaps compare; told the same way round throughout

    @property
    def findings(self) -> list[Finding]:
        """Its findings, regime by regime."""
        return [row.finding for row in self.rows if row.finding is not None]

    @property
    def weighs_cures(self) -> bool:
        """Whether a reader will look for cures: some were tried, or models on reweighed rows stand beside the others."""
        return any(row.tried for row in self.rows) or any(row.regime == "reweighed" for row in self.references)

    def of(self, *channels: str) -> tuple[Estimate, ...]:
        """Its numbers of these channels."""
        return tuple(e for e in self.numbers if e.channel in channels)


class Summary(NamedTuple):
    """What a report shows, in reading order; ``bare`` where activations were given and no model."""

    question: str
    bare: bool
    verdicts: Mapping[str, VerdictWord]
    regimes: tuple[str, ...]
    attributes: tuple[AttributeView, ...]
    margins: dict[str, float]
    scale: Scale = Scale()  # in which unit gaps and effects are told


def summarize(pack: EvidencePack) -> Summary:
    """Arrange a pack for reading. Pure: the same pack gives the same summary."""
    evidence, plan = pack.evidence, pack.plan
    described = {str(entry.get("name")): entry for entry in entries(plan, "attributes")}
    roles = {finding.attribute: finding.role for finding in evidence.findings}
    # Protected attributes first, then intersections, and in the order of the plan, then of the findings.
    order = {name: index for index, name in enumerate([*described, *roles])}
    names = sorted(roles, key=lambda name: (ROLES.index(roles[name]), order[name]))
    planned = [str(entry.get("name")) for entry in entries(plan, "regimes")]
    regimes = tuple(name for name in dict.fromkeys([*planned, *(f.regime for f in evidence.findings)]) if name not in REFERENCES)
    bare, asked = has_kind(plan, "activations"), has_kind(plan, "prompts")
    words = VERDICTS_OF_ACTIVATIONS if bare else VERDICTS
    views, published = [], Published(evidence.estimates, read_scope(plan, pack.recipe, pack.environment))
    by_id = {e.id: e for e in evidence.estimates}
    made_of = kinds_of(plan)
    for name in names:
        numbers = tuple(e for e in evidence.estimates if e.attribute == name)
        mine = Numbers(numbers, {f.regime: f for f in evidence.findings if f.attribute == name}, sites_of(plan, "verdict"))
        findings = [mine.findings[regime] for regime in regimes if regime in mine.findings]
        seen = {e.regime for e in numbers}
        levels = tuple(str(level) for level in listed(described.get(name, {}), "levels"))
        # With many attributes the reader needs them side by side, and the matrix explains the words.
        first = lead(findings, bare=bare, asked=asked)
        first = first if bare or asked else f"{first} {beside_lead(findings)}".rstrip()
        said = first, answer(findings, words, brief=len(names) > MANY, asked=asked)
        rows = tuple(mine.row(regime) for regime in regimes if regime in mine.findings or regime in seen)
        references = tuple(mine.reference(regime, regimes) for regime in _SHOWN_REFERENCES if regime in seen)
        inside = inside_of(published, name, regimes)
        rows, references, pair = _told(published, by_id, rows, references, inside.site if inside else None, made_of)
        profile = _profile(numbers, plan, regimes)
        views.append(AttributeView(name, roles[name], levels, *said, rows, references, profile, numbers, inside, pair))
    protected = [name for name in names if roles[name] == "protected"] or names
    asks = question(protected, bare=bare, asked=asked)
    return Summary(asks, bare, words, regimes, tuple(views), margins_of(plan), Scale.of(plan))


def _told(
    published: Published,
    by_id: Mapping[str, Estimate],
    rows: tuple[Row, ...],
    references: tuple[Row, ...],
    site: str | None,
    made_of: Mapping[str, str],
) -> tuple[tuple[Row, ...], tuple[Row, ...], Pair | None]:
    """Rows with their task and cures, and gaps told the same way round: as in the first row, its first group being that scored higher."""
    first = next((row.gap for row in rows if row.gap is not None and row.gap.value is not None), None)
    pair = pair_of(first)
    if pair is not None and first is not None and (first.value or 0.0) < 0:
        pair = Pair(pair.low, pair.high, pair.output)
    gaps = {row.regime: row.gap for row in (*rows, *references)}
    tasks = {name: published.find("task", None, name) for name in gaps}
    made = []
    # A reference is told among cures, not as the only one: nobody asked for cures then.
    any_tried = any(e.channel == "cure" for e in by_id.values())
    for row in rows:
        tried = tried_of(row.finding, by_id, site)
        beside = reweighed(gaps.get("reweighed"), tasks.get("reweighed"), tasks[row.regime]) if any_tried and row.regime == REAL else None
        if beside is not None and all(one.name != beside.name for one in tried):
            tried = (*tried, beside)
        tried = tuple(one._replace(gap=oriented(one.gap, pair), change=oriented(one.change, pair)) for one in tried)
        tried = tuple(one._replace(people=real_share(made_of, row.regime, one.name)) for one in tried)
        made.append(replace(row, gap=oriented(row.gap, pair), task=tasks[row.regime], tried=tried))
    return tuple(made), tuple(replace(row, gap=oriented(row.gap, pair), task=tasks[row.regime]) for row in references), pair


def count_controls(controls: Iterable[Control]) -> dict[tuple[str, str], dict[bool | None, int]]:
    """Kind and channel of the controls -> how many passed, failed and were not run, in order of first appearance."""
    counts: dict[tuple[str, str], dict[bool | None, int]] = {}
    for control in controls:
        counts.setdefault((control.kind, control.channel), {True: 0, False: 0, None: 0})[control.passed] += 1
    return counts


class Numbers:
    """The numbers of one attribute by regime and channel, in the order of the pack; what decided stands in its findings by regime."""

    def __init__(self, estimates: Iterable[Estimate], findings: Mapping[str, Finding], sites: tuple[str, ...]) -> None:
        self.findings, self._sites = findings, sites
        self._of: defaultdict[tuple[str, str], list[Estimate]] = defaultdict(list)
        for e in estimates:
            self._of[e.regime, e.channel].append(e)

    def deciding(self, regime: str, channel: str, sites: tuple[str, ...] = ()) -> Estimate | None:
        """The one number that stands for a channel: the one that decided, else the main one; of several the largest."""
        found, finding = self._of[regime, channel], self.findings.get(regime)
        decided = finding.decided_by if finding is not None else ()
        rules: tuple[Callable[[Estimate], bool], ...] = (
            lambda e: e.value is not None,
            # The measure that readers know: an output gap stands before an output leak.
            lambda e: channel != "expressed" or e.measure == "gap",
            lambda e: e.state is not None,
            lambda e: e.site is None or not sites or e.site in sites,
            lambda e: e.id in decided,
            # Of several readings the one that found it: a nominal code read as a number tells nothing, cut into quarters it may.
            lambda e: e.state == "present",
            lambda e: e.measure in _PLAIN,
            lambda e: e.group is None,
        )
        for rule in rules:
            found = [e for e in found if rule(e)] or found
        return min(found, key=lambda e: (-(e.value or 0.0), e.id), default=None)

    def row(self, regime: str) -> Row:
        """The line of a regime."""
        states = {channel: self._state(regime, channel) for channel in checks(bare=False)}
        stronger = next((channel for channel in _STRONGER if states.get(channel) == "present"), None)
        if states.get("linear") == "present":
            stronger = None
        output_leaks = (e for e in self._of[regime, "expressed"] if e.measure == "output_leak" and e.state)
        kept = {e.measure: e for e in reversed(self._of[regime, "retention"])}
        leak = self.deciding(regime, "linear", self._sites)
        figures = leak, self.deciding(regime, "expressed"), self.deciding(regime, "used")
        second = next(output_leaks, None), self.deciding(regime, stronger, self._sites) if stronger else None
        ratios = kept.get("encoding_ratio"), kept.get("use_ratio")
        # What is certified of the readers at the verdict sites that found nothing.
        asked = [name for name in _READERS if states.get(name) in ("absent", "unknown")]
        certain = ((name, largest_bound(e for e in self._of[regime, name] if e.state is not None)) for name in asked)
        bounds = {name: bound for name, bound in certain if bound is not None}
        return Row(regime, self.findings.get(regime), *figures, states, *self._placebos(regime), *second, *ratios, bounds)

    def reference(self, regime: str, regimes: tuple[str, ...]) -> Row:
        """The line of a reference; one for all placebos: those of real training, else of the first regime that has some."""
        if regime != "placebo":
            return self.row(regime)
        leaks, gaps = zip(*map(self._placebos, ("real", *regimes)), strict=True)
        leak, gap = (next((e for e in found if e is not None), None) for found in (leaks, gaps))
        return Row(regime, None, leak, gap)

    def _state(self, regime: str, channel: str) -> str:
        """The state of a channel over its numbers: present wins, then unknown, then absent."""
        states = {e.state for e in self._of[regime, channel]}
        return next((word for word in ("present", "unknown", "absent", "not_applicable") if word in states), "not_measured")

    def _placebos(self, regime: str) -> tuple[Estimate | None, Estimate | None]:
        """Leak and gap that invented attributes reach in the models of a regime, as far as measured."""
        leaks = (e for e in self._of["placebo", "linear"] if e.reference_for == regime and e.measure == "leak")
        gaps = (e for e in self._of["placebo", "expressed"] if e.reference_for == regime and e.measure == "gap")
        return next((e for e in leaks if not self._sites or e.site in self._sites), None), next(gaps, None)


def _profile(mine: Iterable[Estimate], plan: Mapping[str, Any], regimes: tuple[str, ...]) -> Profile:
    linear = [e for e in mine if e.channel in ("linear", "elsewhere") and e.site is not None and e.value is not None and e.group is None]
    found = [str(e.site) for e in linear]
    inputs = [str(e.site) for e in linear if e.regime == "inputs"]
    planned = [*sites_of(plan, "profile"), *sites_of(plan, "verdict")]
    sites = tuple(site for site in dict.fromkeys([*inputs, *planned, *found]) if site in set(found))
    # The plain number of a site; "elsewhere" repeats "linear" outside the verdict sites: of several the last stays.
    ordered = sorted(linear, key=lambda e: (e.measure != "leak", e.channel != "linear"))[::-1]
    points = {name: {str(e.site): e for e in ordered if e.regime == name} for name in (*regimes, "untrained", "reweighed", "inputs")}
    series = {name: {site: at[site] for site in sites if site in at} for name, at in points.items() if at}
    plain = [e for e in linear if e.measure == "leak"]
    # The band speaks about trained models: untrained ones relay more.
    placebos = [e for e in plain if e.regime == "placebo" and (e.reference_for is None or e.reference_for in regimes)]
    own = [e for e in plain if e.regime in regimes]
    band, floor, detection = _largest(placebos, "value"), _largest(own, "null_high"), _largest(own, "detection_limit")
    return Profile(sites, series, band, margins_of(plan).get("leak"), floor, detection)


def _largest(found: Iterable[Estimate], field: str) -> dict[str, float]:
    """The largest value of a field at each site, and none below zero."""
    largest: dict[str, float] = {}
    for e in found:
        if (value := getattr(e, field)) is not None:
            largest[str(e.site)] = max(largest.get(str(e.site), 0.0), value)
    return largest
