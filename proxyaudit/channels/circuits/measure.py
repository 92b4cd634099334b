"""Exchange the parts of one transformer, and look for the smallest circuit. No verdict rests on it.

Half of the people are used to screen, rank and search; what is reported was measured on the other half.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from proxyaudit.arrays import Bools, Ints
from proxyaudit.causal import localisation as causal
from proxyaudit.causal.circuits import Switched, smallest_circuit, switched_off
from proxyaudit.causal.interchange import TOO_FEW, Donors, Effect
from proxyaudit.channels.base import ModelView
from proxyaudit.channels.circuits.pools import Pool, Screens, circuit_pool, kind_pools
from proxyaudit.channels.circuits.record import CIRCUITS, Circuit, CircuitsRecord, Exchanged, PartName, SwitchedPart
from proxyaudit.errors import safe_line
from proxyaudit.estimates.record import Measurement
from proxyaudit.models.base import NoGradientError
from proxyaudit.models.text import TextClassifier
from proxyaudit.models.text_parts import POSITIONS, Part, Setting, TextParts, find_places
from proxyaudit.recipe.circuits import CircuitsSpec, circuits_of
from proxyaudit.seeding import stream

# Of each kind, parts tried by the gradient, by the difference between the groups, and at random.
TRIED = {"residual": (8, 0, 0), "attention": (8, 0, 0), "mlp": (8, 0, 0), "head": (8, 2, 4), "units": (4, 1, 0), "unit": (6, 0, 2)}
_RANKED = (8, 6)  # parts that are exchanged before the search for a circuit, by the gradient and by the difference
_FOLLOWED = ("head", "units")  # kinds whose best are told by position, followed to the head of the classifier, and switched off
_BEST = {"positions": 3, "edges": 4, "switched": 6}
_DONORS = 1  # of each group and half; what is reported is a mean over recipients, so further recipients say more than further donors
_GRADIENT_ROWS = 256
_MOST_FLOATS = 2**27  # kept of all places: 512 MiB
_FEWEST = 8  # rows of each group within a label


def measure(view: ModelView, out: Measurement) -> None:
    """Exchange the parts of a transformer of texts for every protected attribute where the recipe asks for it, references left out.

    The untrained model is a control: of it, what no trained part must fall short of is measured.
    """
    spec = circuits_of(view.recipe.circuits, view.recipe.effort, view.repetition)
    module, control = view.model.module, view.regime.name == "untrained"
    protected = [attribute.name for attribute in view.dataset.attributes if attribute.role == "protected"]
    if spec is None or not isinstance(module, TextClassifier) or not protected or not (view.decides or control):
        return
    places = find_places(module, view.x)
    kept = min(len(view.x), max(_MOST_FLOATS // max(3 * sum(place.width for place in places), 1), 64))
    rows = np.sort(stream(view.recipe.seed, "circuits, rows").permutation(len(view.x))[:kept])
    try:
        parts = TextParts(view.model, view.x[rows], places)
        found = {name: _Search(view, name, rows, parts, spec).run(whole=not control) for name in protected}
    except (RuntimeError, ValueError) as error:
        # An architecture may do what no place of it tells beforehand; no other number should be lost for this one.
        found = dict.fromkeys(protected, CircuitsRecord(reason=f"its parts could not be exchanged ({safe_line(error)[:120]})"))
    for name, record in found.items():
        CIRCUITS.write(out, record, name)


def halves(clusters_n: Ints, seed: int) -> Bools:
    """Rows that are searched on; the others verify. A person's rows are all on one side."""
    people = np.unique(clusters_n)
    searched = stream(seed, "circuits, halves").permutation(people)[: len(people) // 2]
    return np.isin(clusters_n, searched)


class _Search:
    def __init__(self, view: ModelView, name: str, rows_n: Ints, parts: TextParts, spec: CircuitsSpec) -> None:
        followed = view.followed[name]
        self.parts, self.spec, self.output = parts, spec, followed.output
        self.groups, self.labels = followed.groups_n[rows_n], view.labels_n[rows_n]
        self.rows, self.total = rows_n, len(view.x)
        self.searching = halves(view.dataset.clusters[rows_n], view.recipe.seed)
        self.rng = stream(view.recipe.seed, "circuits", name)

    def run(self, *, whole: bool) -> CircuitsRecord:
        """Everything for one attribute; of a control only what is tried part by part."""
        plans = [
            causal.draw_plan(self.groups, self.labels, rows, self.spec.texts // part, self.rng, _DONORS)
            for rows, part in ((self.searching, 2), (~self.searching, 1))
        ]
        if plans[0] is None or plans[1] is None:
            return CircuitsRecord(reason=TOO_FEW)
        self.rough, self.fine = plans[0], plans[1]
        self.parts.remember(self.fine.recipients)
        screens, blind = self._screens()
        pools = kind_pools(self.parts, screens)
        record = CircuitsRecord(len(self.fine.recipients), self._full(self._carried(None, self.fine)), no_gradient=blind)
        for pool in pools:
            record = self._tried(record, pool)
        if not whole:
            return record
        best = [(part.name, self._part(pools, part.name)) for part in self._strongest(record)]
        positions, edges, switched = (best[: _BEST[what]] for what in ("positions", "edges", "switched"))
        record = replace(
            record,
            positions=tuple(one for name, part in positions for one in self._positions(name, part)),
            edges=tuple(Exchanged(name, self._full(self._edge(part))) for name, part in edges),
            switched=tuple(one for name, part in switched if (one := self._switched(name, part)) is not None),
        )
        return self._with_circuit(record, circuit_pool(self.parts, screens))

    def _screens(self) -> tuple[Screens, str | None]:
        """What the gradient predicts of the parts of every place, on the half that is searched on."""
        searched = np.flatnonzero(self.searching)
        known = searched[self.groups[searched] >= 0]
        rows = np.sort(self.rng.permutation(known)[:_GRADIENT_ROWS])
        gradients, blind = None, None
        try:
            gradients = self.parts.gradients(rows, self.output)
        except NoGradientError as error:
            blind = str(error)
        return Screens(self.parts, gradients, rows, searched, self.groups, self.labels), blind

    def _tried(self, record: CircuitsRecord, pool: Pool) -> CircuitsRecord:
        """Exchange the most promising parts of a kind, and some at random."""
        counts = TRIED[pool.kind]
        if record.no_gradient is not None:
            counts = (0, sum(counts[:2]), counts[2])
        picked = causal.pick(pool.screened, *counts, self.rng)
        found = {number: self._exchanged(pool, number, by) for number, by in picked.items()}
        left = [number for number in range(len(pool.parts)) if number not in picked and pool.screened.moves[number]]
        largest = max((float(pool.screened.per_row[number]) for number in left), default=0.0)
        tried = tuple(one for one in found.values() if one.by != "random")
        return replace(
            record,
            tried=(*record.tried, *tried),
            random=(*record.random, *(one for one in found.values() if one.by == "random")),
            left={**record.left, **({pool.kind: len(left)} if left else {})},
            left_largest=max(record.left_largest, largest),
        )

    def _exchanged(self, pool: Pool, number: int, by: str) -> Exchanged:
        part, random = pool.parts[number], None
        if pool.kind == "units" and part.units is not None:
            others = np.setdiff1d(np.arange(self.parts.places[part.place].width), part.units)
            if len(others) >= len(part.units):
                drawn = np.sort(self.rng.permutation(others)[: len(part.units)])
                random = self._full(self._exchange(Part(part.place, tuple(int(unit) for unit in drawn)), self.fine))
        effect = self._full(self._exchange(part, self.fine))
        return Exchanged(pool.names[number], effect, random, float(pool.screened.signed[number]), by)

    def _exchange(self, part: Part, plan: Donors) -> Effect:
        """A part's own value of donors, in the recipient's text."""
        return self._effect(lambda own, given, _: self.parts.outputs(own, [Setting(part, given)], self.output), plan)

    def _edge(self, part: Part) -> Effect:
        """The same with all later attention and MLP held, so that it acts on what the classifier's head reads and on nothing else."""
        here = self.parts.places[part.place]
        later = [
            Part(place.name)
            for place in self.parts.places.values()
            if (place.kind in ("attention", "mlp") and place.layer > here.layer)
            or (place.kind == "mlp" and here.kind == "heads" and place.layer == here.layer)
        ]

        def patch(own: Ints, given: Ints, _: causal.Units) -> np.ndarray:
            return self.parts.outputs(own, [Setting(part, given), *(Setting(one, own) for one in later)], self.output)

        return self._effect(patch, self.fine)

    def _carried(self, held: Sequence[Part] | None, plan: Donors) -> Effect:
        """What the donors' texts do when some parts are held at the recipients' values; ``None``: the whole effect."""
        if held is None:
            outputs = self.parts.outputs_nc[:, self.output]
            return self._effect(lambda _, given, __: np.asarray(outputs[given]), plan)
        merged: dict[str, tuple[int, ...] | None] = {}
        for part in held:
            before = merged.get(part.place, ())
            merged[part.place] = None if part.units is None or before is None else tuple(sorted({*before, *part.units}))
        parts = [Part(place, units) for place, units in merged.items()]
        return self._effect(lambda own, given, _: self.parts.outputs(given, [Setting(part, own) for part in parts], self.output), plan)

    def _strongest(self, record: CircuitsRecord) -> list[Exchanged]:
        """Heads and groups of units by what the gradient predicts; where there is none, in the order in which they were tried."""
        inner = [one for one in record.tried if one.name.kind in _FOLLOWED]
        return sorted(inner, key=lambda one: -abs(float(f"{one.predicted or 0.0:.6g}")))

    @staticmethod
    def _part(pools: Sequence[Pool], name: PartName) -> Part:
        return next(pool.parts[pool.names.index(name)] for pool in pools if name in pool.names)

    def _positions(self, name: PartName, part: Part) -> list[Exchanged]:
        found = []
        for number, word in enumerate(POSITIONS):
            effect = self._exchange(replace(part, positions=(number,)), self.fine)
            found.append(Exchanged(replace(name, subject=f"{name.subject}, {word}"), self._full(effect)))
        return found

    def _switched(self, name: PartName, part: Part) -> SwitchedPart | None:
        """The part set to its mean over the people that were searched on, in the others' texts."""
        known = self.groups >= 0
        mean = self.parts.values(part.place)[self.searching & known].mean(axis=0, dtype=np.float64)
        rows = np.sort(self.rng.permutation(np.flatnonzero(~self.searching & known))[: 4 * self.spec.texts])
        clean = self.parts.outputs_nc[:, self.output]
        off = clean.copy()
        off[rows] = self.parts.outputs(rows, [Setting(part, mean)], self.output)
        inside = np.isin(np.arange(len(clean)), rows)
        found = switched_off(clean, off, self.groups, self.labels, inside, _FEWEST)
        if found is None:
            return None
        influence = np.zeros(self.total)
        influence[self.rows] = found.influence_n
        return SwitchedPart(name, Switched(found.value, influence))

    def _with_circuit(self, record: CircuitsRecord, pool: Pool) -> CircuitsRecord:
        """Find the smallest circuit on one half of the people and measure it on the other."""
        whole = self._carried(None, self.rough)
        # A gradient is blind where the output is flat, so the most promising parts are exchanged before they are ranked.
        counts = _RANKED if record.no_gradient is None else (0, sum(_RANKED))
        first = {number: self._exchange(pool.parts[number], self.rough) for number in causal.pick(pool.screened, *counts, 0, self.rng)}
        order = causal.in_direction(first, pool.screened, 1.0 if whole.signed >= 0 else -1.0)

        def but(kept: Sequence[int]) -> list[Part]:
            return [part for number, part in enumerate(pool.parts) if number not in kept]

        kept = smallest_circuit(lambda kept: self._carried(but(kept), self.rough).signed, whole, order, self.spec.share)
        if isinstance(kept, str):
            return replace(record, parts=len(pool.parts), no_circuit=kept)
        random = self._at_random(pool, kept)
        held = (but(kept), [pool.parts[number] for number in kept], but(random), but(()))
        circuit = Circuit(tuple(pool.names[number] for number in kept), *(self._full(self._carried(one, self.fine)) for one in held))
        return replace(record, parts=len(pool.parts), circuit=circuit)

    def _at_random(self, pool: Pool, kept: Sequence[int]) -> list[int]:
        """As many other parts of each kind, where there are so many."""
        found: list[int] = []
        for kind in ("attention", "head", "units"):
            wanted = sum(pool.names[number].kind == kind for number in kept)
            others = [number for number, name in enumerate(pool.names) if name.kind == kind and number not in kept]
            found += [others[at] for at in self.rng.permutation(len(others))[:wanted]]
        return found

    def _effect(self, patch: causal.Patch, plan: Donors) -> Effect:
        return causal.patched_effect(patch, plan, None, len(self.rows))

    def _full(self, effect: Effect) -> Effect:
        """The same with influences of all audit rows, in single precision: there are many parts."""
        full = np.zeros((2, self.total), dtype=np.float32)
        full[:, self.rows] = effect.signed_influence_n, effect.product_influence_n
        return replace(effect, signed_influence_n=full[0], product_influence_n=full[1])
