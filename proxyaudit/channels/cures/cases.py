"""Which cures are worth trying for which verdicts, and which of those that were screened are confirmed."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import numpy as np
import pandas as pd

from proxyaudit.channels.cures.estimate import Tried, best_of, lessens, tried
from proxyaudit.data.cures import Cure, cures_of
from proxyaudit.data.dataset import Dataset
from proxyaudit.estimates.facts import Cured, Facts
from proxyaudit.estimates.ledger import Ledger
from proxyaudit.estimates.numbers import Numbers
from proxyaudit.estimates.scope import Scope
from proxyaudit.regimes import Regime
from proxyaudit.types import Estimate

Case = tuple[Regime, Cure]
_TRIALS: Final = 7  # for each verdict: four or five cures with one model, one of them with two more; a mixture and an eraser come on top
_OF_TEXTS: Final = 6  # two cures, with three models each
_REAL: Final = ""  # no regime has this name
_LEAST_SHARE: Final = 0.05  # of the strongest carrier's product: what carries less is not worth treating
TREATED: Final = ("real", "synthetic", "release", "mixed")


def cases_of(
    dataset: Dataset,
    regimes: Sequence[Regime],
    releases: Mapping[str, pd.DataFrame],
    facts: Facts,
    ledger: Ledger,
    scope: Scope,
    *,
    erasable: bool,
) -> list[Case]:
    """A case for each cure of each protected attribute that a trained regime did not remove; ``erasable``: models can get an eraser."""
    numbers, cases = Numbers(ledger.estimates, scope), []
    # A cured model is compared with the model of the same repetition: nothing is tried where the first one failed.
    trained = [regime for regime in regimes if regime.kind in TREATED and facts.whole(regime.name)]
    for regime in trained:
        known = _held(regime, regimes, releases, dataset)
        for attribute in dataset.protected:
            if numbers.decision(attribute, regime.name).verdict != "removed":
                carriers = carriers_of(dataset, ledger.estimates, attribute, regime.name)
                source = _cleanest(regime, mixable(regime, trained), ledger.estimates, attribute)
                found = cures_of(attribute, carriers, known=attribute in known, source=source, erasable=erasable, text=dataset.text)
                cases += [(regime, cure) for cure in found]
    return cases


def _held(regime: Regime, regimes: Iterable[Regime], releases: Mapping[str, pd.DataFrame], dataset: Dataset) -> Collection[str]:
    """Columns that the rows of a regime hold, the attributes among them."""
    source = next(one for one in regimes if one.name == (regime.of or regime.name))
    if source.name in releases:
        return {*map(str, releases[source.name].columns)}
    blind = source.synthetic is not None and not source.synthetic.sees_protected
    return () if blind else dataset.protected


def trials_of(regime: Regime, regimes: Iterable[Regime], attributes: int, *, erasable: bool, texts: bool = False) -> tuple[int, int]:
    """Models that are trained on altered rows of a regime, and those that get an eraser, if none of its attributes is called removed."""
    if regime.kind not in TREATED:
        return 0, 0
    mixed = bool(mixable(regime, [one for one in regimes if one.kind in TREATED]))
    return ((_OF_TEXTS if texts else _TRIALS) + mixed) * attributes, erasable * attributes


def mixable(regime: Regime, trained: Sequence[Regime]) -> list[Regime]:
    """Those of the ``trained`` regimes whose rows may be mixed into a regime: nothing it has already, no pair that is audited."""
    audited = {_rows_of(one) for one in trained if one.kind == "mixed"}
    others = [one for one in trained if one.kind != "mixed"]
    return [one for one in others if not _rows_of(one) <= _rows_of(regime) and _rows_of(one) | _rows_of(regime) not in audited]


def _rows_of(regime: Regime) -> frozenset[str]:
    """Where the rows of a regime come from: its own table, the real ones, or both."""
    made = set() if regime.kind == "real" else {regime.of or regime.name}
    return frozenset(made | ({_REAL} if regime.kind in ("real", "mixed") else set()))


def _cleanest(regime: Regime, others: Sequence[Regime], estimates: Iterable[Estimate], attribute: str) -> str:
    """The one of the others with the smallest gap between the groups, if that is smaller than the regime's own; else nothing."""
    found = [e for e in estimates if (e.channel, e.measure, e.attribute) == ("expressed", "gap", attribute) and e.value is not None]
    sizes = {e.regime: abs(e.value or 0.0) for e in reversed(found)}  # the first of each
    smaller = [one.name for one in others if sizes.get(one.name, np.inf) < sizes.get(regime.name, 0.0)]
    return min(smaller, key=lambda name: (sizes[name], name), default="")


def is_part(case: Case, cases: Iterable[Case]) -> bool:
    """Whether a cure drops some of the columns that another one of its regime drops."""
    return any(regime.name == case[0].name and case[1].is_part_of(cure) for regime, cure in cases)


def is_worth_parts(regime: Regime, cure: Cure, first: Sequence[Cured], facts: Facts, ledger: Ledger) -> bool:
    """Whether dropping columns together left a smaller gap than before, so that some of them may do."""
    whole = [one for one in first if one.regime == regime.name and cure.is_part_of(one.cure)]
    return any(_is_smaller(one, facts) for one in tried(facts, ledger, whole))


def is_chosen(regime: Regime, cure: Cure, first: Sequence[Cured], facts: Facts, ledger: Ledger) -> bool:
    """Whether a cure is the best that was screened for its attribute and regime, or the best affordable one, and left a smaller gap."""
    beside = [one for one in first if (one.regime, one.cure.attribute) == (regime.name, cure.attribute)]
    found = tried(facts, ledger, beside)
    return cure.name in best_of(found) and any(_is_smaller(one, facts) for one in found if one.name == cure.name)


def _is_smaller(one: Tried, facts: Facts) -> bool:
    return lessens(one.before, one.left, facts.margins.gap)


def carriers_of(dataset: Dataset, estimates: Iterable[Estimate], attribute: str, regime: str) -> tuple[str, ...]:
    """The input columns that carry an attribute and move the outputs, the strongest product first; never those that may be used."""
    treated = {feature.name for feature in dataset.features} - {*dataset.legitimate}
    found = [e for e in estimates if (e.channel, e.attribute, e.regime) == ("proxy_use", attribute, regime) and e.subject in treated]
    ranked = sorted(found, key=lambda e: -(e.value or 0.0))
    least = _LEAST_SHARE * (ranked[0].value or 0.0) if ranked else 0.0
    return tuple(str(e.subject) for e in ranked if e.value is not None and e.value > max(least, 0.0))
