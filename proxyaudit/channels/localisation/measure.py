"""Measure, in one trained model, which sites, blocks, heads and units carry the effect of each attribute. No verdict rests on it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from proxyaudit.arrays import Ints
from proxyaudit.causal import localisation as causal
from proxyaudit.causal.interchange import TOO_FEW, Donors, Effect
from proxyaudit.channels.base import ModelView
from proxyaudit.channels.localisation.record import LOCALISATIONS, LocalisationRecord, LocationRecord, Part, PartSet, Search
from proxyaudit.channels.localisation.tried import FEWEST_RECIPIENTS, MOST_RECIPIENTS, TRIED
from proxyaudit.estimates.record import Measurement
from proxyaudit.models.base import NoGradientError, TabularModule
from proxyaudit.models.locations import Location, Patching, find_locations, part_units
from proxyaudit.recipe.circuits import circuits_of
from proxyaudit.seeding import stream

MOST_PLACES, MOST_SEARCHED = 12, 4  # of those that are no verdict sites
_SLOTS = 32  # 8 donors of each group and half
_GRADIENT_ROWS, _FEWEST_GRADIENT_ROWS = 512, 64
_LEAST_WORK, _SHARE_OF_TRAINING = 3e10, 0.1  # multiplications for all attributes of one model
_MOST_FLOATS = 2**26  # kept of all places: 256 MiB
_COST = "left out: it would take too many operations"


@dataclass(frozen=True)
class Schedule:
    """What one attribute gets: recipients, and which places are patched whole and searched; the others with the reason."""

    recipients: int
    gradient_rows: int
    whole: dict[str, str | None]
    searched: dict[str, str | None]


def schedule(places: Sequence[Location], verdict_sites: Sequence[str], budget: float) -> Schedule:
    """Share out the operations: verdict sites first, then the other places whole, then their heads and units, the last ones first."""
    verdict = [p for p in places if p.name in verdict_sites]
    others = [p for p in places if p.name not in verdict_sites]
    beyond = f"left out: {MOST_PLACES} places beside the verdict sites are patched"
    whole: dict[str, str | None] = {p.name: (None if p in verdict or p in others[:MOST_PLACES] else beyond) for p in places}
    inside = [p for kind in ("heads", "site") for p in reversed(others) if p.kind == kind and whole[p.name] is None]
    few = f"left out: {MOST_SEARCHED} places beside the verdict sites are searched"
    searched: dict[str, str | None] = {p.name: (None if p in verdict or p in inside[:MOST_SEARCHED] else few) for p in (*verdict, *inside)}
    wanted = [(whole, p, 1.0) for p in verdict] + [(searched, p, _evaluations(p, "verdict")) for p in verdict]
    wanted += [(whole, p, 1.0) for p in others if whole[p.name] is None]
    wanted += [(searched, p, _evaluations(p, "elsewhere")) for p in inside if searched[p.name] is None]
    each = max((p.whole_work for p in places), default=1.0)
    gradient_rows = int(np.clip(0.2 * budget / (3 * each), _FEWEST_GRADIENT_ROWS, _GRADIENT_ROWS))
    spent = 0.0
    for kept, place, evaluations in wanted:
        cost = evaluations * _SLOTS * place.work
        if whole[place.name] is None and (spent + cost) * FEWEST_RECIPIENTS <= budget:
            spent += cost
        else:
            kept[place.name] = _COST
    recipients = int(np.clip(budget / max(spent, 1.0), FEWEST_RECIPIENTS, MOST_RECIPIENTS))
    return Schedule(recipients, gradient_rows, whole, searched)


def _evaluations(place: Location, where: str) -> float:
    """Patches of a search, in patches of all recipients; those on the screening rows have half as many."""
    tried, controls = sum(TRIED[where][:2]), TRIED[where][2]
    return tried + controls + 2 + 0.5 * (1 + tried + math.log2(max(place.heads or place.width, 2)))


def rows_kept(places: Sequence[Location], rows: int) -> int:
    """Rows whose values at all places can be kept."""
    return min(rows, max(_MOST_FLOATS // max(sum(place.floats for place in places), 1), 1))


def measure(view: ModelView, out: Measurement) -> None:
    """Localise the effect of every protected attribute, references left out; transformers of texts have a channel of their own."""
    protected = [attribute.name for attribute in view.dataset.attributes if attribute.role == "protected"]
    if view.dataset.text is not None:
        if circuits_of(view.recipe.circuits, view.recipe.effort) is not None:
            return  # the parts of a transformer are exchanged by a channel of their own
        why = "parts of transformers are exchanged where the recipe asks for it ('circuits: true')"
        found = dict.fromkeys(protected, LocalisationRecord(reason=why))
    elif view.asks("localisation") and protected:
        try:
            found = _localise(view, protected)
        except Exception as error:
            if isinstance(view.model.module, TabularModule):
                raise
            # A user's module may do anything in its forward pass; no other number should be lost for this one.
            reason = f"the module's parts could not be exchanged ({type(error).__name__}: {' '.join(str(error).split())[:120]})"
            found = dict.fromkeys(protected, LocalisationRecord(reason=reason))
    else:
        return
    for name, record in found.items():
        LOCALISATIONS.write(out, record, name)


def _localise(view: ModelView, protected: Sequence[str]) -> dict[str, LocalisationRecord]:
    locations = find_locations(view.model, view.x)
    # Operations for one attribute: a small share of training's, or what a small model needs.
    whole = max((place.whole_work for place in locations), default=0.0)
    budget = max(_LEAST_WORK, _SHARE_OF_TRAINING * 3 * view.rows_trained * whole) / max(len(protected), 1)
    plan = schedule(locations, view.model.verdict_sites, budget)
    patched = [location for location in locations if plan.whole[location.name] is None]
    rows = np.arange(len(view.x))
    if (kept := rows_kept(patched, len(rows))) < len(rows):
        rows = np.sort(stream(view.recipe.seed, "localised rows").permutation(len(rows))[:kept])
    patching = Patching(view.model, view.x[rows], patched)
    return {name: _Search(view, name, rows, patching, plan).run(locations) for name in protected}


@dataclass(frozen=True)
class _Inside:
    """A location that is searched: its parts by number, and what the gradient predicts of each."""

    location: Location
    patch: causal.Patch
    names: list[str]
    parts: list[list[int]]
    screened: causal.Screened


class _Search:
    def __init__(self, view: ModelView, name: str, rows_n: Ints, patching: Patching, plan: Schedule) -> None:
        followed, parts = view.followed[name], view.dataset.parts[rows_n]
        self.name, self.root, self.patching, self.plan = name, view.recipe.seed, patching, plan
        self.output, self.verdict_sites = followed.output, view.model.verdict_sites
        self.groups, self.labels = followed.groups_n[rows_n], view.labels_n[rows_n]
        self.rows, self.total = rows_n, len(view.x)
        self.screening = np.flatnonzero(parts == 0)
        self.rng = stream(self.root, "localisation", name)
        self.parts = parts

    def run(self, locations: Sequence[Location]) -> LocalisationRecord:
        rough = causal.draw_plan(self.groups, self.labels, self.parts == 0, self.plan.recipients // 2, self.rng)
        fine = causal.draw_plan(self.groups, self.labels, self.parts != 0, self.plan.recipients, self.rng)
        if rough is None or fine is None:
            return LocalisationRecord(reason=TOO_FEW)
        self.rough, self.fine = rough, fine
        known = self.screening[self.groups[self.screening] >= 0]
        rows = np.sort(self.rng.permutation(known)[: self.plan.gradient_rows])
        gradients, reason = None, None
        try:
            gradients = self.patching.gradients(rows, self.output)
        except NoGradientError as error:
            reason = str(error)
        found: dict[str, LocationRecord] = {}
        for location in locations:
            skipped = self.plan.whole[location.name]
            if skipped is not None:
                found[location.name] = LocationRecord(location.kind, skipped)
                continue
            named = part_units(location)
            own = None if gradients is None else gradients[location.name]
            parts = [None, *(units for _, units in named)]
            place, inside = np.searchsorted(self.screening, rows), self.screening
            values = self.patching.values(location.name)[inside]
            screened = causal.screen(values, own, place, self.groups[inside], self.labels[inside], parts)
            patch = self.patching.patch(location.name, self.output)
            whole = self._part("whole", self._effect(patch, self.fine, None), screened, 0)
            searched = None
            if location.name in self.plan.searched and self.plan.searched[location.name] is None:
                names, units = [name for name, _ in named], [units for _, units in named]
                searched = self._inside(_Inside(location, patch, names, units, screened.of(slice(1, None))))
            found[location.name] = LocationRecord(location.kind, None, whole, searched, self.plan.searched.get(location.name))
        return LocalisationRecord(len(self.fine.recipients), found, reason)

    def _inside(self, inside: _Inside) -> Search:
        rng = stream(self.root, "localised at random", self.name, inside.location.name)
        where = "verdict" if inside.location.name in self.verdict_sites else "elsewhere"
        picked = causal.pick(inside.screened, *TRIED[where], rng)
        random = [part for part, by in picked.items() if by == "random"]
        first = {part: self._effect(inside.patch, self.rough, inside.parts[part]) for part in picked if part not in random}
        order = causal.in_order(first, inside.screened)

        def tried(part: int) -> Part:
            effect = self._effect(inside.patch, self.fine, inside.parts[part])
            return self._part(inside.names[part], effect, inside.screened, part, picked[part])

        left = [part for part in order if part not in picked]
        carriers = self._carriers(inside, first, rng)
        return Search(
            tried=tuple(tried(part) for part in order if part in first),
            random=tuple(tried(part) for part in random),
            parts=len(inside.parts),
            moving=len(order),
            left=len(left),
            left_largest=max((float(inside.screened.per_row[part]) for part in left), default=0.0),
            carriers=None if isinstance(carriers, str) else carriers,
            no_carriers=carriers if isinstance(carriers, str) else None,
        )

    def _carriers(self, inside: _Inside, first: Mapping[int, Effect], rng: np.random.Generator) -> PartSet | str:
        """The smallest set that carries most of the effect, or why there is none."""
        whole = self._effect(inside.patch, self.rough, None)
        ranked = causal.in_direction(first, inside.screened, 1.0 if whole.signed >= 0 else -1.0)
        order = [inside.parts[part] for part in ranked]

        def together(units: list[list[int]], plan: Donors) -> Effect:
            return self._effect(inside.patch, plan, sorted({unit for part in units for unit in part}))

        size = causal.smallest_set(lambda count: together(order[:count], self.rough).signed, whole, len(order))
        if isinstance(size, str):
            return size
        drawn = [order[part] for part in rng.permutation(len(order))[:size]]
        carriers, control = (Part("", self._kept(together(units, self.fine))) for units in (order[:size], drawn))
        return PartSet(size, tuple(inside.names[part] for part in ranked[: min(size, TRIED["verdict"][0])]), carriers, control)

    def _effect(self, patch: causal.Patch, plan: Donors, units: causal.Units) -> Effect:
        return causal.patched_effect(patch, plan, units, len(self.rows))

    def _part(self, name: str, effect: Effect, screened: causal.Screened, part: int, by: str | None = None) -> Part:
        return Part(name, self._kept(effect), float(screened.signed[part]), float(screened.per_row[part]), by)

    def _kept(self, effect: Effect) -> Effect:
        """The same with influences of all audit rows, in single precision: there are many parts."""
        full = np.zeros((2, self.total), dtype=np.float32)
        full[:, self.rows] = effect.signed_influence_n, effect.product_influence_n
        return replace(effect, signed_influence_n=full[0], product_influence_n=full[1])
