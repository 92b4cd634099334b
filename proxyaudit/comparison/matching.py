"""What of one run is what of the other: regimes by name or as mapped, sites by name or by role, numbers by what they measure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from proxyaudit.comparison.outcomes import MatchedBy, Models
from proxyaudit.errors import InputError, did_you_mean
from proxyaudit.estimates.questions import deciding_names
from proxyaudit.estimates.scope import entries, has_kind, mapping, sites_of
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.types import Estimate

OF_SITES = ("effect", "learned_effect")  # measured at a site, or at all verdict sites together
Training = Literal["same_rows", "other_seed", "other_rows"]
RUN_NOTES: dict[Training, str] = {
    "other_seed": "one recipe with two seeds: models that were trained by them differ by chance alone, and no change is claimed",
    "other_rows": "models were trained on other rows in the two runs (another seed or other data), so no change of numbers is claimed",
}
NUMBER_NOTES: dict[Training, str] = {
    "other_seed": "one recipe with two seeds: what differs is chance",
    "other_rows": "trained on other rows, and how much that alone changes is not known",
}
_BY_SEED = ("audit", "split")  # digests that change with the seed alone
_NOT_ASKED = ("seed", "name")
_GIVEN = ("checkpoints", "activations", "prompts")


def match_regimes(a: EvidencePack, b: EvidencePack, wanted: Sequence[str] = ()) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Pairs of regimes, and the regimes of A that have none.

    Where pairs are ``wanted`` (``A=B``, or one name for both), these alone are compared. Else regimes of one name belong together, and
    where each run has exactly one regime left, so do these. ``InputError`` if a name is unknown or given twice, or none belong together.
    """
    first, second = (tuple(dict.fromkeys(finding.regime for finding in pack.evidence.findings)) for pack in (a, b))
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
        mend = f"say which belong together, e.g. --regime {(first or ('a',))[0]}={(second or ('b',))[0]}"
        raise InputError(f"no regime is in both runs (A: {_listed(first)}; B: {_listed(second)})", where="compare", mend=mend)
    return tuple(pairs), tuple(left)


def paired_by_changes(a: EvidencePack, b: EvidencePack, changes: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Pairs ``A=B`` of the regimes that recorded changes of run A made those of run B of, and of those of one name; empty without any."""
    first, second = (tuple(dict.fromkeys(finding.regime for finding in pack.evidence.findings)) for pack in (a, b))
    own = [one["change"] for one in changes if one["source"]["run_id"] == a.evidence.run.id]
    made = [(str(one["regime"]), str(one["changed_regime"])) for one in own]
    pairs = dict.fromkeys(pair for pair in made if pair[0] in first and pair[1] in second)
    if not pairs:
        return ()
    return tuple(f"{old}={new}" for old, new in (*((name, name) for name in first if name in second), *pairs))


def _named(text: str, first: Sequence[str], second: Sequence[str]) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    new = new if equals else old
    for name, known, run in ((old, first, "A"), (new, second, "B")):
        if name not in known:
            mend = did_you_mean(name, known, f"it has {_listed(known)}")
            raise InputError(f"run {run} has no regime '{name[:80]}'", where=f"--regime {text[:160]}", mend=mend)
    return old, new


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") or "none"


def models_of(pack: EvidencePack, regime: str) -> Models:
    """Whether a regime's models were given as such (or are quantised ones of these), or trained here and so stand for a way of training."""
    planned = {str(entry.get("name")): entry for entry in entries(pack.plan, "regimes")}
    entry = planned.get(regime, {})
    if entry.get("kind") == "quantised":
        entry = planned.get(str(entry.get("of")), {})
    return "given" if entry.get("kind") in _GIVEN else "trained"


@dataclass(frozen=True)
class Sites:
    """Sites of a run in the order of the forward pass."""

    verdict: tuple[str, ...]
    profile: tuple[str, ...]
    ordered: bool = True  # bare activations come in no order

    @classmethod
    def of(cls, pack: EvidencePack) -> "Sites":
        """The sites as planned."""
        verdict, profile = (sites_of(pack.plan, kind) for kind in ("verdict", "profile"))
        return cls(verdict, tuple(dict.fromkeys((*profile, *verdict))), not has_kind(pack.plan, "activations"))

    @property
    def other(self) -> tuple[str, ...]:
        """Profiled sites outside the verdict sites."""
        return tuple(site for site in self.profile if site not in self.verdict)


def match_sites(a: Sites, b: Sites) -> dict[str, tuple[str, MatchedBy]]:
    """For each site of B the site of A that it is compared with.

    By name where B's name has the same role in A (verdict site or not); else by role: verdict sites in order where there are as many, and
    otherwise the nearest in relative depth that no name has taken. Of bare activations only the one left on both sides is matched.
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


class Key(NamedTuple):
    """By what a number of one run is known in the other."""

    channel: str
    measure: str
    subject: str | None
    site: str | None

    def at(self, site: str | None) -> "Key":
        """The same number at another site."""
        return self._replace(site=site)


def numbers_of(pack: EvidencePack, attribute: str, regime: str) -> dict[Key, Estimate]:
    """Deciding numbers by what they are about."""
    found: dict[Key, Estimate] = {}
    names = deciding_names()
    for e in pack.evidence.estimates:
        if (e.attribute, e.regime) == (attribute, regime) and e.channel in names and e.state is not None:
            # Which groups differ most in effect is no other measure; over which sites it was taken is, and ``site`` says that.
            subject = None if e.measure in OF_SITES else e.subject
            found.setdefault(Key(e.channel, e.measure, subject, e.site), e)
    return found


def training_of(a: EvidencePack, b: EvidencePack) -> Training:
    """Whether the two runs trained on the same rows, or are one recipe with two seeds, or neither.

    Every repetition of a run trains on the same rows, so repetitions do not say what other rows do; of a recipe that is the same but for
    its seed, nothing but chance can make the difference.
    """
    first, second = (mapping(pack.plan, "hashes") for pack in (a, b))
    sizes = [mapping(pack.plan, "rows").get("training_size") for pack in (a, b)]
    drawn = [(first.get("split"), a.plan.get("seed"), sizes[0]), (second.get("split"), b.plan.get("seed"), sizes[1])]
    if drawn[0] == drawn[1] and drawn[0][0] is not None:
        return "same_rows"
    asked = [{key: value for key, value in pack.recipe.items() if key not in _NOT_ASKED} for pack in (a, b)]
    data = [{key: value for key, value in hashes.items() if key not in _BY_SEED} for hashes in (first, second)]
    versions = [pack.evidence.run.versions for pack in (a, b)]
    one = asked[0] == asked[1] and data[0] == data[1] and bool(data[0]) and versions[0] == versions[1]
    return "other_seed" if one and drawn[0][1] != drawn[1][1] else "other_rows"
