"""Circuits as estimates: what was exchanged inside a transformer, what that did, and why it is confirmed or not. No verdict rests on it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from proxyaudit.arrays import Ints
from proxyaudit.causal.interchange import Effect
from proxyaudit.channels.circuits.record import CIRCUITS, Circuit, CircuitsRecord, Exchanged, PartName
from proxyaudit.data.attributes import Attribute
from proxyaudit.estimates.facts import Facts, Run
from proxyaudit.estimates.ledger import Draft, Drafts, Ledger
from proxyaudit.stats.intervals import Measured, crossed_interval, fieller_ratio, over_seeds, p_above
from proxyaudit.stats.p_values import PRESENT_AT, holm

CHANNEL, SHARE, SWITCHED = "circuit", "circuit_share", "circuit_switched_off"
CONFIRMED_SHARE = 0.05  # of the whole effect, below which a part is not called one of those that carry it
KINDS = ("residual", "attention", "head", "mlp", "units", "unit")
NOT_SURE = "tried: not surely different from zero in every model"
NOT_BEYOND = "tried: no more than parts taken at random do"
NOT_TRAINED = "tried: no more than such parts of the untrained model do"
SMALL = "tried: less than a twentieth of the whole effect"
NOT_WHOLE = "tried: moves the outputs, but exchanging everything does not by the margin of an effect"
ONE_OF_SEVERAL = "tried in some of the models only"
METHODS = {
    CHANNEL: "pooled value interchanged, donors share the label; other group minus own group; raw: what the gradient predicts",
    "held": "donors' texts, all other parts held at the recipient's pooled values; donors share the label; other group minus own group",
    "edge": "as exchanged, with all later attention and MLP outputs held at the recipient's",
    SWITCHED: "difference between groups within labels, before minus after the part is set to its mean",
    SHARE: "effect over that of exchanging everything, on the same rows, Fieller's interval",
}


@dataclass(frozen=True)
class _Line:
    """One thing that was tried, in every model that tried it."""

    name: PartName
    measure: str
    signed: tuple[Measured, ...]
    predicted: float | None = None
    random: float = 0.0  # size of the largest control of its own

    @classmethod
    def of(cls, name: PartName, measure: str, found: Sequence[tuple[Effect, float | None, Effect | None]], clusters_n: Ints) -> Self:
        signed = [Measured(np.array([e.signed]), e.signed_influence_n.astype(np.float64), clusters_n) for e, _, _ in found]
        known = [predicted for _, predicted, _ in found if predicted is not None]
        random = max((abs(control.signed) for _, _, control in found if control is not None), default=0.0)
        return cls(name, measure, tuple(signed), float(np.mean(known)) if known else None, random)

    def p(self) -> float:
        """p-value of "does nothing from group to group", in the model where it is largest; models that disagree in sign have 1."""
        sign = 1.0 if over_seeds(self.signed).value >= 0 else -1.0
        return max(min(1.0, 2 * p_above(one if sign > 0 else -one, 0.0)) for one in self.signed)

    @property
    def size(self) -> float:
        """How far it moves the outputs, in the mean over models."""
        return abs(over_seeds(self.signed).value)


def follow_up(facts: Facts, ledger: Ledger) -> Drafts:
    """Publish what was exchanged, for every protected attribute and regime that has it."""
    out = Drafts()
    for attribute in facts.protected:
        untrained = facts.run(facts.untrained or "")
        control = [] if untrained is None else _records(untrained, attribute)
        for run in facts.runs:
            if not run.is_reference and (records := _records(run, attribute)):
                _Publishing(out, facts, ledger, attribute, run, records).publish(control)
    return out


def _records(run: Run, attribute: Attribute) -> list[CircuitsRecord]:
    found = [CIRCUITS.find(measured, attribute.name) for measured in run.measured]
    return [record for record in found if record is not None]


class _Publishing:
    """What is published of one attribute in one regime."""

    def __init__(
        self, out: Drafts, facts: Facts, ledger: Ledger, attribute: Attribute, run: Run, records: Sequence[CircuitsRecord]
    ) -> None:
        low, high = facts.followed[attribute.name].names
        self.out, self.records, self.clusters, self.places = out, records, facts.clusters_n, run.places
        self.base = Draft(
            CHANNEL, attribute.name, run.regime, group=f"{low} to {high}", unit=facts.gap_unit, method=METHODS[CHANNEL], decides=False
        )
        self.margin = facts.margins.effect
        used = ("used", attribute.name, run.regime, "present")
        self.used = any((e.channel, e.attribute, e.regime, e.state) == used for e in ledger.estimates)

    def publish(self, control: Sequence[CircuitsRecord]) -> None:
        """Everything, in the order of the report."""
        reason = next((record.reason for record in self.records if record.reason), None)
        if reason is not None:
            self.out.add(replace(self.base, measure="whole", context="whole model", reason=reason))
            return
        self.base = replace(self.base, n=min(record.rows for record in self.records) // 10 * 10)
        wholes = [(record.whole, None, None) for record in self.records if record.whole is not None]
        self.whole = _Line.of(PartName("", "whole", "whole model"), "whole", wholes, self.clusters)
        self._add(self.whole, NOT_SURE if self.whole.p() > PRESENT_AT else None, shared=False)
        backed = (self.whole.p() <= PRESENT_AT and self.whole.size >= self.margin) or self.used
        lines = self._lines([record.tried for record in self.records])
        randoms = self._lines([record.random for record in self.records])
        beyond = {kind: max((line.size for line in randoms if line.name.kind == kind), default=0.0) for kind in KINDS}
        tried_there = [one for record in control for one in record.tried]
        untrained = {kind: max((abs(one.effect.signed) for one in tried_there if one.name.kind == kind), default=0.0) for kind in KINDS}
        adjusted = iter(holm([line.p() for line in lines])) if lines else iter(())
        for line in lines:
            limits = (max(beyond[line.name.kind], line.random), untrained[line.name.kind])
            reason = self._reason(line, float(next(adjusted)), limits, backed=backed)
            self._add(line, reason, null_high=max(limits))
        for line in randoms:
            self._add(replace(line, measure="random"), "control", shared=False)
        self._not_tried()
        self._followed()
        self._switched()
        self._circuits(backed=backed)

    def _lines(self, found: Sequence[Sequence[Exchanged]], measure: str = "") -> list[_Line]:
        """What was tried, by name, in the order in which the first model has it."""
        names = dict.fromkeys(one.name for record in found for one in record)
        lines = []
        for name in names:
            own = [(one.effect, one.predicted, one.random) for record in found for one in record if one.name == name]
            lines.append(_Line.of(name, measure or name.kind, own, self.clusters))
        return lines

    def _reason(self, line: _Line, p: float, limits: tuple[float, float], *, backed: bool) -> str | None:
        """Why a part is not confirmed; ``None`` where it is."""
        reasons = (
            (len(line.signed) < len(self.records), ONE_OF_SEVERAL),
            (p > PRESENT_AT, NOT_SURE),
            (line.size <= limits[0], NOT_BEYOND),
            (line.size <= limits[1], NOT_TRAINED),
            (line.size < CONFIRMED_SHARE * self.whole.size, SMALL),
            (not backed, NOT_WHOLE),
        )
        return next((why for fails, why in reasons if fails), None)

    def _add(self, line: _Line, reason: str | None, *, null_high: float | None = None, shared: bool = True, method: str = CHANNEL) -> None:
        """The effect of one thing and, where it is not ruled out, its share of the whole effect."""
        places = self.places if len(line.signed) == len(self.records) else ()
        signed = over_seeds(line.signed, places)
        about = replace(
            self.base,
            site=line.name.site or None,
            measure=line.measure,
            subject=line.name.subject,
            context=line.name.subject,
            method=METHODS[method],
        )
        raw = None if line.predicted is None else line.predicted
        effect = replace(about, measured=signed, interval=crossed_interval(signed), raw=raw, null_high=null_high, reason=reason)
        self.out.add(effect)
        if shared and reason is None and self.whole.p() <= PRESENT_AT:
            ratio = fieller_ratio(signed, over_seeds(self.whole.signed, self.places))
            if ratio is not None:
                share = replace(about, channel=SHARE, method=METHODS[SHARE], unit="share of the whole effect", interval=ratio)
                self.out.add(share, value=ratio.value)

    def _not_tried(self) -> None:
        """How many parts of each kind were not tried, and what stands against it."""
        words = {"head": "heads", "units": "groups of MLP units", "unit": "single MLP units"}
        blind = next((record.no_gradient for record in self.records if record.no_gradient), None)
        if blind is not None:
            skipped = replace(self.base, measure="skipped", subject="screening by the gradient", context="screening by the gradient")
            self.out.add(replace(skipped, reason=blind, n=None))
        for kind in KINDS:
            left = max((record.left.get(kind, 0) for record in self.records), default=0)
            if left:
                largest = max(record.left_largest for record in self.records)
                subject = f"{left} {words.get(kind, kind + ' outputs')}"
                reason = f"not tried: the gradient predicts at most {largest:.2g} for any of them"
                self.out.add(replace(self.base, measure="skipped", subject=subject, context=subject, reason=reason, n=None))

    def _followed(self) -> None:
        """The best parts at each position, and on their way to what the classifier's head reads."""
        for line in self._lines([record.positions for record in self.records], "position"):
            self._add(line, None if line.p() <= PRESENT_AT else NOT_SURE)
        for line in self._lines([record.edges for record in self.records], "edge"):
            self._add(line, None if line.p() <= PRESENT_AT else NOT_SURE, method="edge")

    def _switched(self) -> None:
        found = [(one.name, one.switched) for record in self.records for one in record.switched]
        for name in dict.fromkeys(name for name, _ in found):
            own = [Measured(np.array([s.value]), s.influence_n.astype(np.float64), self.clusters) for n, s in found if n == name]
            measured = over_seeds(own, self.places if len(own) == len(self.records) else ())
            about = replace(self.base, channel=SWITCHED, site=name.site, measure=name.kind, subject=name.subject, context=name.subject)
            self.out.add(replace(about, measured=measured, interval=crossed_interval(measured), method=METHODS[SWITCHED]))

    def _circuits(self, *, backed: bool) -> None:
        """The smallest circuit: what it carries and what is left without it, each as an effect and as a share of the whole."""
        about = replace(self.base, measure="circuit", context="smallest circuit")
        why = next((record.no_circuit for record in self.records if record.no_circuit), None)
        why = why if backed or why is not None else "the effect of the whole model is below the margin of an effect"
        circuits = [record.circuit for record in self.records if record.circuit is not None]
        if why is not None or not circuits:
            if why is not None:
                self.out.add(replace(about, subject="smallest circuit", reason=f"no circuit: {why}", n=None))
            return
        for name in _members(circuits):
            self.out.add(replace(about, measure="member", site=name.site, subject=name.subject, context=f"in the circuit: {name.subject}"))
        sizes = sorted({len(one.names) for one in circuits})
        parts = max(record.parts for record in self.records)
        subject = f"{' or '.join(map(str, sizes))} of {parts} parts"
        for measure, effects in (
            ("circuit", [one.carried for one in circuits]),
            ("without", [one.left for one in circuits]),
            ("circuit_random", [one.random for one in circuits]),
            ("direct", [one.direct for one in circuits]),
        ):
            line = _Line.of(PartName("", measure, subject), measure, [(one, None, None) for one in effects], self.clusters)
            self._add(line, None, method="held")


def _members(circuits: Iterable[Circuit]) -> list[PartName]:
    """Parts of the circuit, of every model."""
    return list(dict.fromkeys(name for circuit in circuits for name in circuit.names))
