"""From a pack to what a report shows: a pure view that HTML, Markdown and the terminal share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from proxyaudit.evidence.listing import run_date
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.reporting.text import join_words, shorten
from proxyaudit.reporting.words import VERDICTS, VERDICTS_OF_ACTIVATIONS, VerdictWord
from proxyaudit.types import CHANNELS, REFERENCES, Control, Estimate, Evidence, Finding

__all__ = ["AttributeView", "Profile", "Row", "Series", "Summary", "channel_state", "deciding", "question", "summarize"]

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


@dataclass(frozen=True)
class AttributeView:
    """Everything about one attribute."""

    name: str
    role: str
    kind: str
    levels: tuple[str, ...]
    answer: str
    rows: tuple[Row, ...]
    references: tuple[Row, ...]
    profile: Profile
    expressed: tuple[Estimate, ...]
    used: tuple[Estimate, ...]
    effort: tuple[Estimate, ...] = ()


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
    views = tuple(_attribute(name, roles[name], described.get(name, {}), pack, regimes, words) for name in names)
    return Summary(
        question=question([name for name in names if roles[name] == "protected"] or names, bare=bare, asked=_asked(pack.plan)),
        bare=bare,
        date=run_date(pack.environment),
        verdicts=words,
        regimes=regimes,
        attributes=views,
        task=tuple(e for e in evidence.estimates if e.attribute is None),
        failed=tuple(c for c in evidence.controls if c.passed is False),
        controls=_count_controls(evidence.controls),
    )


def _asked(plan: Mapping[str, Any]) -> bool:
    return any(entry.get("kind") == "prompts" for entry in _entries(plan, "regimes"))


def question(names: list[str], *, bare: bool = False, asked: bool = False) -> str:
    """Return the audit's question in plain words; ``bare`` if activations were given and no model, ``asked`` of a language model."""
    what = join_words([f"“{shorten(name, 40)}”" for name in names], "or") if len(names) <= 3 else f"these {len(names)} attributes"
    what = what or "the attribute"
    if asked:
        return f"Does the language model treat groups of {what} differently?"
    return f"Is {what} in these activations?" if bare else f"Did training on synthetic data remove {what} from the model, or only hide it?"


def deciding(evidence: Evidence, attribute: str, regime: str, channel: str, verdict_sites: Iterable[str] = ()) -> Estimate | None:
    """Return the one number that stands for a channel: the one that decided, else the main one.

    Numbers that differ by context or group (within label, one class only) stand back behind the plain one.
    """
    found = [e for e in evidence.estimates if (e.attribute, e.regime, e.channel) == (attribute, regime, channel)]
    decided = {ref for f in evidence.findings if (f.attribute, f.regime) == (attribute, regime) for ref in f.decided_by}
    sites = set(verdict_sites)
    return min(
        found,
        key=lambda e: (
            e.value is None,
            # An output gap and an output leak may both decide; the gap is the one that readers know.
            channel == "expressed" and e.context not in (None, "gap"),
            e.state is None,
            e.site is not None and bool(sites) and e.site not in sites,
            e.id not in decided,
            e.context is not None,
            e.group is not None,
            -(e.value or 0.0),
            e.id,
        ),
        default=None,
    )


def channel_state(evidence: Evidence, attribute: str, regime: str, channel: str) -> str:
    """Return the state of a channel over its numbers: present wins, then unknown, then absent."""
    states = {e.state for e in evidence.estimates if (e.attribute, e.regime, e.channel) == (attribute, regime, channel)}
    return next((word for word in ("present", "unknown", "absent", "not_applicable") if word in states), "not_measured")


def answer(findings: Iterable[Finding], words: Mapping[str, VerdictWord] = VERDICTS, *, asked: bool = False) -> str:
    """Return one sentence for an attribute over all regimes: worst first, nothing left out."""
    parts: list[str] = []
    findings = list(findings)
    for verdict in VERDICTS:
        for at_least in ("hidden", None):
            regimes = [f.regime for f in findings if f.verdict == verdict and f.at_least == at_least]
            if regimes:
                alone, bare = len(regimes) == len(findings), words is not VERDICTS
                parts.append(_clause(words[verdict], verdict, at_least, regimes, alone=alone, bare=bare, asked=asked))
    text = "; ".join(parts)
    inside = [f for f in findings if f.encoding == "linear"]
    relayed = ""
    if inside and all(f.origin.encoding == "relayed" for f in inside):
        relayed = " What is inside is no more than a network relays of its inputs by itself (see the untrained and placebo rows)."
    return f"{text[0].upper()}{text[1:]}.{relayed}" if text else "No verdict was reached."


def _clause(word: VerdictWord, verdict: str, at_least: str | None, regimes: list[str], *, alone: bool, bare: bool, asked: bool) -> str:
    if asked:
        where = "in all models asked" if alone and len(regimes) > 1 else f"in {join_words(regimes)}"
    elif bare:
        where = "in all activations given" if alone and len(regimes) > 1 else f"in the activations of {join_words(regimes)}"
    else:
        where = "after every kind of training tried here" if alone and len(regimes) > 1 else f"after training on {join_words(regimes)} data"
    if verdict == "inconclusive" and at_least:
        return f"at least hidden {where} (something of it is inside; whether it also shows or acts is not settled)"
    if verdict == "inconclusive":
        return f"inconclusive {where} (these data cannot tell)"
    return f"{word.word.lower()} {where} ({word.short})"


def _attribute(
    name: str, role: str, described: Mapping[str, Any], pack: EvidencePack, regimes: tuple[str, ...], words: Mapping[str, VerdictWord]
) -> AttributeView:
    evidence = pack.evidence
    mine = tuple(e for e in evidence.estimates if e.attribute == name)
    findings = {f.regime: f for f in evidence.findings if f.attribute == name}
    sites = _verdict_sites(pack.plan)
    seen = {e.regime for e in mine}

    def row(regime: str) -> Row:
        states = {channel: channel_state(evidence, name, regime, channel) for channel in CHANNELS}
        stronger = next((channel for channel in ("nonlinear", "beyond") if states[channel] == "present"), None)
        return Row(
            regime=regime,
            finding=findings.get(regime),
            leak=deciding(evidence, name, regime, "linear", sites),
            gap=deciding(evidence, name, regime, "expressed"),
            effect=deciding(evidence, name, regime, "used"),
            states=states,
            stronger=deciding(evidence, name, regime, stronger, sites) if stronger and states["linear"] != "present" else None,
            placebo_leak=_placebo(mine, regime, "linear", sites),
            placebo_gap=_placebo(mine, regime, "expressed", ()),
            output_leak=next(
                (e for e in mine if (e.regime, e.channel, e.context) == (regime, "expressed", "output leak") and e.state), None
            ),
        )

    def reference(regime: str) -> Row:
        if regime != "placebo":
            return row(regime)
        # One line for all placebos: those of real training, else of the first regime that has some.
        leaks, gaps = ([_placebo(mine, name, *what) for name in ("real", *regimes)] for what in (("linear", sites), ("expressed", ())))
        leak, gap = (next((e for e in found if e is not None), None) for found in (leaks, gaps))
        return Row(regime, None, leak, gap, None, {})

    levels = described.get("levels")
    return AttributeView(
        name=name,
        role=role,
        kind=str(described.get("kind", "")),
        levels=tuple(str(level) for level in levels) if isinstance(levels, list | tuple) else (),
        answer=answer((findings[regime] for regime in regimes if regime in findings), words, asked=_asked(pack.plan)),
        rows=tuple(row(regime) for regime in regimes if regime in findings or regime in seen),
        references=tuple(reference(regime) for regime in _SHOWN_REFERENCES if regime in seen),
        profile=_profile(mine, pack.plan, regimes),
        expressed=tuple(e for e in mine if e.channel == "expressed"),
        used=tuple(e for e in mine if e.channel == "used"),
        effort=tuple(e for e in mine if e.channel == "effort"),
    )


def _placebo(mine: Iterable[Estimate], regime: str, channel: str, sites: Iterable[str]) -> Estimate | None:
    """Return the number of the placebos of ``regime`` (named at the start of ``context``), if the pipeline made one."""
    wanted = set(sites)
    found = [e for e in mine if e.regime == "placebo" and e.channel == channel and _belongs(e, regime) and (not wanted or e.site in wanted)]
    # Of the outputs' placebos the gap, not the leak.
    found.sort(key=lambda e: not str(e.context).endswith("gap"))
    return found[0] if found else None


def _belongs(placebo: Estimate, regime: str) -> bool:
    context = placebo.context or ""
    return context == regime or context.startswith(f"{regime}: ")


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
    for e in (e for e in linear if e.regime == "placebo" and (not e.context or any(_belongs(e, regime) for regime in regimes))):
        band[str(e.site)] = max(band.get(str(e.site), 0.0), float(e.value or 0.0))
    margins = plan.get("margins")
    margin = margins.get("leak") if isinstance(margins, dict) else None
    return Profile(sites, tuple(series), band, float(margin) if isinstance(margin, int | float) else None)


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
