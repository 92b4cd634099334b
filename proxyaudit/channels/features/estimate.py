"""Latents as estimates: how well each tells the groups apart, and by how much the gap falls without it. No verdict rests on it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from proxyaudit.arrays import Ints
from proxyaudit.channels.features.record import FEATURES, FeaturesRecord, Latent
from proxyaudit.data.attributes import Attribute
from proxyaudit.estimates.facts import Facts, Run
from proxyaudit.estimates.ledger import Draft, Drafts, Ledger
from proxyaudit.stats.intervals import Measured, crossed_interval, over_seeds, p_above
from proxyaudit.stats.p_values import PRESENT_AT, holm

CHANNEL, FIT, SWITCHED = "feature", "feature_fit", "feature_switched_off"
NOT_SURE = "not surely different from chance in every model"
NOT_BEYOND = "no more than latents taken at random"
NOT_SURE_OFF = "not surely different from zero in every model"
_FEWEST_ON = 22  # texts, of those that figures rest on, below which the share in which a latent is on is not told
UNIT_AUROC = "area under the ROC curve"
METHODS = {
    CHANNEL: "mean of the latent over tokens, second group against first, on people that it was not picked on; DeLong's interval",
    FIT: "1 minus the squared error of the reconstruction over the variance of the values, over tokens",
    SWITCHED: "difference between groups within labels, before minus after what the latent writes is taken away at every token",
}


@dataclass(frozen=True)
class _Line:
    """A latent in every model that looked at it."""

    number: int
    by: str
    auroc: Measured
    per_model: tuple[Measured, ...]
    switched: Measured | None
    active: float

    def p(self) -> float:
        """p-value of "tells nothing", in the model where it is largest."""
        sign = 1.0 if self.auroc.value >= 0.5 else -1.0
        return max(min(1.0, 2 * (p_above(one, 0.5) if sign > 0 else p_above(-one, -0.5))) for one in self.per_model)


def follow_up(facts: Facts, ledger: Ledger) -> Drafts:
    """Publish what latents tell, for every protected attribute and regime that has them."""
    out = Drafts()
    for attribute in facts.protected:
        for run in facts.runs:
            found = [FEATURES.find(measured, attribute.name) for measured in run.measured]
            records = [record.found for record in found if record is not None]
            for place in range(min((len(one) for one in records), default=0)):
                _add(out, facts, attribute, run, [one[place] for one in records])
    return out


def _add(out: Drafts, facts: Facts, attribute: Attribute, run: Run, records: Sequence[FeaturesRecord]) -> None:
    low, high = facts.followed[attribute.name].names
    first = records[0]
    base = Draft(FIT, attribute.name, run.regime, site=first.site, group=f"{low} to {high}", method=METHODS[FIT], decides=False)
    base = replace(base, measure="explained", subject=first.name, context=f"autoencoder {first.name}", unit="share of the variance")
    reason = next((record.reason for record in records if record.reason), None)
    if reason is not None:
        out.add(replace(base, reason=reason))
        return
    base = replace(base, n=min(record.rows for record in records) // 10 * 10)
    out.add(base, value=float(np.mean([record.explained for record in records])))
    lines = _lines(records, facts.clusters_n)
    chosen, random = ([line for line in lines if (line.by == "random") == drawn] for drawn in (False, True))
    beside = max((abs(line.auroc.value - 0.5) for line in random), default=0.0)
    adjusted = holm([line.p() for line in chosen])
    off_beside = max((abs(line.switched.value) for line in random if line.switched is not None), default=0.0)
    for line, p in zip([*chosen, *random], [*adjusted, *(1.0 for _ in random)], strict=True):
        name = f"latent {line.number}"
        about = replace(base, channel=CHANNEL, measure="auroc", subject=name, context=name, unit=UNIT_AUROC, method=METHODS[CHANNEL])
        weak = NOT_SURE if p > PRESENT_AT else None
        weak = "control" if line.by == "random" else weak
        about = replace(
            about,
            raw=line.active if line.active * (base.n or 0) >= _FEWEST_ON else None,
            null_high=0.5 + beside if random else None,
            reason=weak,
        )
        out.add(replace(about, measured=line.auroc, interval=crossed_interval(line.auroc)))
        if line.switched is not None:
            moved = min(1.0, 2 * p_above(line.switched.oriented(), 0.0))
            weak = NOT_SURE_OFF if moved > PRESENT_AT else NOT_BEYOND if abs(line.switched.value) <= off_beside else None
            weak = "control" if line.by == "random" else weak
            off = replace(about, channel=SWITCHED, measure="gap_taken", unit=facts.gap_unit, method=METHODS[SWITCHED], raw=None)
            off = replace(off, null_high=off_beside if random else None, reason=weak)
            out.add(replace(off, measured=line.switched, interval=crossed_interval(line.switched)))


def _lines(records: Sequence[FeaturesRecord], clusters_n: Ints) -> list[_Line]:
    """Latents that every model looked at for the same reason, in the order of the first; others are each model's own."""
    lines = []
    for latent in records[0].tried:
        alike = [next((one for one in r.tried if (one.number, one.by) == (latent.number, latent.by)), None) for r in records]
        found = [one for one in alike if one is not None]
        if len(found) == len(records):
            lines.append(_line(found, clusters_n))
    return lines


def _line(found: Sequence[Latent], clusters_n: Ints) -> _Line:
    each = tuple(Measured(np.array([one.auroc]), one.influence_n.astype(np.float64), clusters_n) for one in found)
    taken = [one.switched for one in found if one.switched is not None]
    off = [Measured(np.array([one.value]), one.influence_n.astype(np.float64), clusters_n) for one in taken]
    active = float(np.mean([one.active for one in found]))
    return _Line(found[0].number, found[0].by, over_seeds(each), each, over_seeds(off) if len(off) == len(found) else None, active)
