"""What of one run is what of the other: regimes by name or as mapped, sites by name or by role, numbers by what they measure."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proxyaudit.comparison.values import MatchedBy, Models
from proxyaudit.errors import InputError
from proxyaudit.estimates.questions import deciding_names
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.types import Estimate

_GIVEN = ("checkpoints", "activations", "prompts")


def regimes_of(pack: EvidencePack) -> tuple[str, ...]:
    """Regimes with a verdict, in the order of the findings."""
    return tuple(dict.fromkeys(finding.regime for finding in pack.evidence.findings))


def match_regimes(a: EvidencePack, b: EvidencePack, wanted: Sequence[str] = ()) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Pairs of regimes, and the regimes of A that have none.

    Args:
        a: The run compared with.
        b: The run judged.
        wanted: ``A=B`` (or one name for both) as the user gave them; then these pairs alone are compared. Without them regimes of one
            name belong together, and where each run has exactly one regime left, so do these.

    Raises:
        InputError: a name is unknown or given twice, or nothing belongs together.
    """
    first, second = regimes_of(a), regimes_of(b)
    if wanted:
        pairs = [_named(text, first, second) for text in wanted]
        doubled = next((text for text, pair in zip(wanted, pairs, strict=True) if pairs.count(pair) > 1), None)
        if doubled is not None:
            raise InputError("the pair of regimes is given twice", where=f"--regime {doubled}", mend="give each pair once")
        return tuple(pairs), ()
    pairs = [(name, name) for name in first if name in second]
    left, new = [n for n in first if n not in second], [n for n in second if n not in first]
    if len(left) == 1 and len(new) == 1:
        return (*pairs, (left[0], new[0])), ()
    if not pairs:
        raise InputError(
            f"no regime is in both runs (A: {_listed(first)}; B: {_listed(second)})",
            where="compare",
            mend="say which belong together, e.g. --regime " + f"{(first or ('a',))[0]}={(second or ('b',))[0]}",
        )
    return tuple(pairs), tuple(left)


def _named(text: str, first: Sequence[str], second: Sequence[str]) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    new = new if equals else old
    for name, known, run in ((old, first, "A"), (new, second, "B")):
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            mend = f"did you mean '{near[0]}'?" if near else f"it has {_listed(known)}"
            raise InputError(f"run {run} has no regime '{name[:80]}'", where=f"--regime {text[:160]}", mend=mend)
    return old, new


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") or "none"


def models_of(pack: EvidencePack, regime: str) -> Models:
    """Whether a regime's models were given as such (or are quantised ones of these), or trained here and so stand for a way of training."""
    entries = {str(entry.get("name")): entry for entry in _entries(pack.plan.get("regimes"))}
    entry = entries.get(regime, {})
    if entry.get("kind") == "quantised":
        entry = entries.get(str(entry.get("of")), {})
    return "given" if entry.get("kind") in _GIVEN else "trained"


def _entries(value: Any) -> list[Mapping[str, Any]]:
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []


@dataclass(frozen=True)
class Sites:
    """Sites of a run in the order of the forward pass."""

    verdict: tuple[str, ...]
    profile: tuple[str, ...]
    ordered: bool = True  # bare activations come in no order

    @classmethod
    def of(cls, pack: EvidencePack) -> Sites:
        """The sites as planned."""
        found = pack.plan.get("sites")
        found = found if isinstance(found, Mapping) else {}
        verdict, profile = (tuple(map(str, found.get(key) or ())) for key in ("verdict", "profile"))
        bare = any(entry.get("kind") == "activations" for entry in _entries(pack.plan.get("regimes")))
        return cls(verdict, tuple(dict.fromkeys((*profile, *(site for site in verdict if site not in profile)))), not bare)

    @property
    def other(self) -> tuple[str, ...]:
        """Profiled sites outside the verdict sites."""
        return tuple(site for site in self.profile if site not in self.verdict)


def match_sites(a: Sites, b: Sites) -> dict[str, tuple[str, MatchedBy]]:
    """For each site of B the site of A that it is compared with.

    By name where B's name has the same role in A (verdict site or not); else by role: verdict sites in order where there are as
    many, and otherwise the site of the same role at the nearest relative depth among those that no name has taken. Sites of bare
    activations have no order: only the one that is left on both sides is matched.
    """
    found: dict[str, tuple[str, MatchedBy]] = {}
    for mine, theirs in ((b.verdict, a.verdict), (b.other, a.other)):
        by_name = set(mine) & set(theirs)
        free = [site for site in theirs if site not in by_name]
        for place, site in enumerate(mine):
            if site in by_name:
                found[site] = (site, "name")
            elif not (a.ordered and b.ordered):
                if len(free) == 1 and len(mine) - len(by_name) == 1:
                    found[site] = (free[0], "role")
            elif len(mine) == len(theirs) and not by_name:
                found[site] = (theirs[place], "role")
            elif theirs:
                depth = _depth(site, b)
                found[site] = (min(free or theirs, key=lambda other: abs(_depth(other, a) - depth)), "role")
    return found


def _depth(site: str, sites: Sites) -> float:
    return (sites.profile.index(site) + 0.5) / len(sites.profile)


def kind_of(estimate: Estimate) -> str:
    """What an estimate measures within its channel, in words that two runs share."""
    context = estimate.context or ""
    if estimate.channel == "used":
        # Which of its two forms was the larger is no other measure; over which sites it was taken is.
        joint = "joint" if context.startswith("joint") else ""
        method = "learned subspace" if "learned" in context else "LEACE subspace"
        return f"{joint}, {method}" if joint else method
    return context


def numbers_of(pack: EvidencePack, attribute: str, regime: str) -> dict[tuple[str, str, str | None], Estimate]:
    """Deciding numbers by channel, kind and site."""
    found: dict[tuple[str, str, str | None], Estimate] = {}
    for estimate in pack.evidence.estimates:
        if (
            (estimate.attribute, estimate.regime) == (attribute, regime)
            and estimate.channel in deciding_names()
            and estimate.state is not None
        ):
            found.setdefault((estimate.channel, kind_of(estimate), estimate.site), estimate)
    return found
