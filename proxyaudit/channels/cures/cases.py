"""Which cures are worth trying for which verdicts, and which of those that were screened are confirmed."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from proxyaudit.channels.cures.estimate import best_of, tried
from proxyaudit.data.cures import Cure, cures_of
from proxyaudit.data.dataset import Dataset
from proxyaudit.estimates.facts import Cured, Facts
from proxyaudit.estimates.ledger import Ledger
from proxyaudit.estimates.numbers import Numbers
from proxyaudit.estimates.scope import Scope
from proxyaudit.regimes import Regime
from proxyaudit.types import Estimate

_LEAST_SHARE = 0.05  # of the strongest carrier's product: what carries less is not worth treating
_TREATED = ("real", "synthetic", "release", "mixed")


def cases_of(
    dataset: Dataset, regimes: Iterable[Regime], known: Mapping[str, Collection[str]], facts: Facts, ledger: Ledger, scope: Scope
) -> list[tuple[Regime, Cure]]:
    """A case for each cure of each protected attribute that a trained regime did not remove; its rows hold the ``known`` attributes."""
    numbers, cases = Numbers(ledger.estimates, scope), []
    for regime in regimes:
        measured = facts.run(regime.name)
        if regime.kind not in _TREATED or measured is None or not measured.measured:
            continue
        for attribute in dataset.protected:
            if numbers.decision(attribute, regime.name).verdict != "removed":
                carriers = carriers_of(dataset, ledger.estimates, attribute, regime.name)
                cases += [(regime, cure) for cure in cures_of(attribute, carriers, known=attribute in known[regime.name])]
    return cases


def is_chosen(regime: Regime, cure: Cure, first: Sequence[Cured], facts: Facts, ledger: Ledger) -> bool:
    """Whether a cure is the best that was screened for its attribute and regime, or the best affordable one."""
    beside = [one for one in first if (one.regime, one.cure.attribute) == (regime.name, cure.attribute)]
    return cure.name in best_of(tried(facts, ledger, beside))


def carriers_of(dataset: Dataset, estimates: Iterable[Estimate], attribute: str, regime: str) -> tuple[str, ...]:
    """The input columns that carry an attribute and move the outputs, the strongest product first; never those that may be used."""
    treated = {feature.name for feature in dataset.features} - {*dataset.legitimate}
    found = [e for e in estimates if (e.channel, e.attribute, e.regime) == ("proxy_use", attribute, regime) and e.subject in treated]
    ranked = sorted(found, key=lambda e: -(e.value or 0.0))
    least = _LEAST_SHARE * (ranked[0].value or 0.0) if ranked else 0.0
    return tuple(str(e.subject) for e in ranked if e.value is not None and e.value > max(least, 0.0))
