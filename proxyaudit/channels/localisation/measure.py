"""Measure, in one trained model, which sites, blocks, heads and units carry the effect of each attribute.

No verdict rests on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Floats, Ints
from proxyaudit.causal.donors import Donors
from proxyaudit.causal.interchange import Effect
from proxyaudit.causal.localisation import (
    Patch,
    Screened,
    Units,
    draw_plan,
    in_direction,
    in_order,
    joined,
    patched_effect,
    pick,
    screen,
    smallest_set,
)
from proxyaudit.channels.base import ModelView
from proxyaudit.channels.localisation.budget import TRIED, Schedule, budget_of, rows_kept, schedule
from proxyaudit.channels.interventions import TOO_FEW, UseTask, task_of
from proxyaudit.data.dataset import Dataset
from proxyaudit.estimates.record import Measurement, cell_key
from proxyaudit.models.base import TabularModule, TrainedModel
from proxyaudit.models.locations import Place, find_places, part_units
from proxyaudit.models.patching import NoGradientHereError, Patching
from proxyaudit.seeding import stream


def measure_localisation(
    model: TrainedModel,
    x_np: NDArray[np.float32],
    dataset: Dataset,
    labels_n: Ints,
    task: UseTask,
    out: Measurement,
    *,
    rows_trained: int = 0,
) -> None:
    """Localise the effect of every protected attribute; results go into ``out``. References are left out.

    Args:
        model: The model.
        x_np: Encoded audit rows.
        dataset: The data set.
        labels_n: True labels.
        task: Root seed, groups compared and output followed, as for use.
        out: Where ``localisation`` goes.
        rows_trained: Rows times epochs of training, which the operations spent here are kept small against.
    """
    protected = [attribute for attribute in dataset.attributes if attribute.role == "protected"]
    if not task.decides or not protected:
        return
    found: dict[str, Any] = out.numbers.setdefault("localisation", {})
    try:
        _localise(model, x_np, dataset, labels_n, task, out, found, rows_trained)
    except Exception as error:
        if isinstance(model.module, TabularModule):
            raise
        # A user's module may do anything in its forward pass; no other number should be lost for this one.
        reason = f"the module's parts could not be exchanged ({type(error).__name__}: {' '.join(str(error).split())[:120]})"
        found.update({attribute.name: {"reason": reason} for attribute in protected})


def _localise(
    model: TrainedModel,
    x_np: NDArray[np.float32],
    dataset: Dataset,
    labels_n: Ints,
    task: UseTask,
    out: Measurement,
    found: dict[str, Any],
    rows_trained: int,
) -> None:
    protected = [attribute for attribute in dataset.attributes if attribute.role == "protected"]
    places = find_places(model, x_np)
    plan = schedule(places, model.verdict_sites, budget_of(places, rows_trained, len(protected)))
    patched = [place for place in places if plan.whole[place.name] is None]
    rows = np.arange(len(x_np))
    if (kept := rows_kept(patched, len(rows))) < len(rows):
        rows = np.sort(stream(task.root, "localised rows").permutation(len(rows))[:kept])
    patching = Patching(model, x_np[rows], patched)
    for attribute in protected:
        groups, output = task.followed[attribute.name]
        search = _Search(attribute.name, output, groups[rows], labels_n[rows], dataset.parts[rows], rows, len(x_np), task.root, out)
        found[attribute.name] = search.run(patching, places, model.verdict_sites, plan)


class _Search:
    """One attribute in one model."""

    def __init__(
        self, name: str, output: int, groups_n: Ints, labels_n: Ints, parts_n: Ints, rows_n: Ints, total: int, root: int, out: Measurement
    ) -> None:
        self.name, self.output, self.groups, self.labels, self.root, self.out = name, output, groups_n, labels_n, root, out
        self.rows, self.total = rows_n, total
        self.screening = np.flatnonzero(parts_n == 0)
        self.screened_n, self.measured_n = parts_n == 0, parts_n != 0

    def run(self, patching: Patching, places: Sequence[Place], verdict_sites: Sequence[str], plan: Schedule) -> dict[str, Any]:
        rng = stream(self.root, "localisation", self.name)
        rough = draw_plan(self.groups, self.labels, self.screened_n, plan.recipients // 2, rng)
        fine = draw_plan(self.groups, self.labels, self.measured_n, plan.recipients, rng)
        if rough is None or fine is None:
            return {"reason": TOO_FEW}
        known = self.screening[self.groups[self.screening] >= 0]
        rows = np.sort(rng.permutation(known)[: plan.gradient_rows])
        gradients, reason = None, None
        try:
            gradients = patching.gradients(rows, self.output)
        except NoGradientHereError as error:
            reason = str(error)
        found: dict[str, Any] = {}
        for place in places:
            entry: dict[str, Any] = {"kind": place.kind, "skipped": plan.whole[place.name]}
            if entry["skipped"] is None:
                patch, parts = patching.patch(place.name, self.output), part_units(place)
                screened = self._screen(patching, place, gradients, rows, [None, *(units for _, units in parts)])
                predicted = {"predicted": float(screened.signed[0]), "predicted per row": float(screened.per_row[0])}
                entry["whole"] = self._keep(place, "whole", self._effect(patch, fine, None)) | predicted
                if place.name in plan.searched:
                    entry["search skipped"] = plan.searched[place.name]
                    if entry["search skipped"] is None:
                        where = "verdict" if place.name in verdict_sites else "elsewhere"
                        entry["search"] = self._inside(place, patch, parts, screened.of(slice(1, None)), rough, fine, where)
            found[place.name] = entry
        return {"reason": None, "no gradient": reason, "rows": len(fine.recipients), "places": found}

    def _inside(
        self,
        place: Place,
        patch: Patch,
        named: list[tuple[str, list[int]]],
        screened: Screened,
        rough: Donors,
        fine: Donors,
        where: str,
    ) -> dict[str, Any]:
        names, parts = [name for name, _ in named], [units for _, units in named]
        rng = stream(self.root, "localised at random", self.name, place.name)
        picked = pick(screened, *TRIED[where], rng)
        first = {part: self._effect(patch, rough, parts[part]) for part in (*picked.by_gradient, *picked.by_difference)}
        order = in_order(picked, first, screened)

        def entry(what: str, part: int, by: str) -> dict[str, Any]:
            numbers = self._keep(place, what, self._effect(patch, fine, parts[part]))
            predicted = {"predicted": float(screened.signed[part]), "predicted per row": float(screened.per_row[part])}
            return {"name": names[part], "by": by, **predicted, "apart": float(screened.apart[part]), **numbers}

        by = dict.fromkeys(picked.by_gradient, "gradient") | dict.fromkeys(picked.by_difference, "difference")
        tried = [entry(f"tried {rank}", part, by[part]) for rank, part in enumerate(order[: len(by)])]
        controls = [entry(f"random {rank}", part, "random") for rank, part in enumerate(picked.at_random)]
        left = [part for part in order[len(by) :] if part not in picked.at_random]
        return {
            "tried": tried,
            "random": controls,
            "set": self._set(place, patch, named, first, screened, rough, fine, rng),
            "parts": len(parts),
            "moving": len(order),
            "left": len(left),
            "left largest": max((float(screened.per_row[part]) for part in left), default=0.0),
        }

    def _set(
        self,
        place: Place,
        patch: Patch,
        named: list[tuple[str, list[int]]],
        first: dict[int, Effect],
        screened: Screened,
        rough: Donors,
        fine: Donors,
        rng: np.random.Generator,
    ) -> dict[str, Any]:
        whole = self._effect(patch, rough, None)
        ranked = in_direction(first, screened, 1.0 if whole.signed >= 0 else -1.0)
        order, names = [named[part][1] for part in ranked], [named[part][0] for part in ranked]
        size = smallest_set(lambda count: self._effect(patch, rough, joined(order[:count])).signed, whole, len(order))
        if isinstance(size, str):
            return {"reason": size}
        numbers = self._keep(place, "set", self._effect(patch, fine, joined(order[:size])))
        drawn = rng.permutation(len(order))[:size]
        control = self._keep(place, "random set", self._effect(patch, fine, joined([order[part] for part in drawn])))
        return {"reason": None, "size": size, "names": names[: min(size, TRIED["verdict"][0])], **numbers, "random": control}

    def _screen(
        self, patching: Patching, place: Place, gradients: dict[str, Floats] | None, rows: Ints, parts: Sequence[Units]
    ) -> Screened:
        inside = self.screening
        own = None if gradients is None else gradients[place.name]
        values = patching.values(place.name)[inside]
        return screen(values, own, np.searchsorted(inside, rows), self.groups[inside], self.labels[inside], parts)

    def _effect(self, patch: Patch, plan: Donors, units: Units) -> Effect:
        return patched_effect(patch, plan, units, len(self.rows))

    def _keep(self, place: Place, what: str, effect: Effect) -> dict[str, float]:
        for kind, influence in (("signed", effect.signed_influence_n), ("product", effect.product_influence_n)):
            full = np.zeros(self.total, dtype=np.float32)
            full[self.rows] = influence
            self.out.arrays[cell_key(self.name, place.name, f"localised {what} {kind}")] = full
        return {"signed": effect.signed, "product": effect.product}


def measure(view: ModelView, out: Measurement) -> None:
    """Localise every attribute's effect; of texts nothing is localised."""
    if view.dataset.text is not None:
        why = "parts of transformers of texts are not exchanged in this version"
        out.numbers["localisation"] = {attribute.name: {"reason": why} for attribute in view.dataset.attributes}
        return
    measure_localisation(view.model, view.x, view.dataset, view.labels_n, task_of(view), out, rows_trained=view.rows_trained)
