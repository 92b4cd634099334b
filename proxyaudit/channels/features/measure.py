"""Which latents of a sparse autoencoder carry an attribute, and what taking each of the best out does. No verdict rests on it.

Latents are picked on half of the people, by the standardised difference of the groups' means; what is reported was measured on the others.
"""

from dataclasses import replace

import numpy as np

from proxyaudit.arrays import Bools, Floats, Ints, Singles
from proxyaudit.causal.circuits import Switched, switched_off
from proxyaudit.causal.interchange import TOO_FEW
from proxyaudit.channels.base import ModelView
from proxyaudit.channels.features.record import FEATURES, FeaturesRecord, FeaturesRecords, Latent
from proxyaudit.estimates.record import Measurement
from proxyaudit.models.latents import LatentParts
from proxyaudit.models.sae import SparseAutoencoder
from proxyaudit.seeding import stream
from proxyaudit.stats.auroc import auroc_with_influence

PICKED, RANDOM = 8, 4  # latents that are looked at by the difference of the groups, and at random as controls
FEWEST_ON = 11  # texts that a latent must be on in: of fewer nothing is told
_MOST_FLOATS = 2**27  # of the latents of all texts: 512 MiB
_MOST_SWITCHED = 512  # texts that a latent is switched off in
_FEWEST, _FEWEST_IN_LABEL = 16, 8  # texts of each group in either half of the people, and within a label


def measure(view: ModelView, out: Measurement) -> None:
    """Look at the latents of every autoencoder of the recipe, for every protected attribute; of each regime's first model."""
    protected = [attribute.name for attribute in view.dataset.attributes if attribute.role == "protected"]
    if not view.model.saes or not protected or not view.decides or (view.repetition and view.recipe.effort != "everything"):
        return
    found: dict[str, list[FeaturesRecord]] = {name: [] for name in protected}
    for sae in view.model.saes:
        kept = min(len(view.x), max(_MOST_FLOATS // sae.latents, 256))
        rows = np.sort(stream(view.recipe.seed, "features, rows").permutation(len(view.x))[:kept])
        parts = LatentParts(view.model, view.x[rows], sae)
        for name in protected:
            found[name].append(_Latents(view, name, rows, sae, parts).run())
    for name, records in found.items():
        FEATURES.write(out, FeaturesRecords(tuple(records)), name)


class _Latents:
    def __init__(self, view: ModelView, name: str, rows_n: Ints, sae: SparseAutoencoder, parts: LatentParts) -> None:
        followed = view.followed[name]
        self.parts, self.sae, self.output = parts, sae, followed.output
        self.groups, self.labels = followed.groups_n[rows_n], view.labels_n[rows_n]
        self.rows, self.total = rows_n, len(view.x)
        people = np.unique(view.dataset.clusters[rows_n])
        picked = stream(view.recipe.seed, "features, halves").permutation(people)[: len(people) // 2]
        self.searching: Bools = np.isin(view.dataset.clusters[rows_n], picked)
        self.rng = stream(view.recipe.seed, "features", name, sae.at)

    def run(self) -> FeaturesRecord:
        """The latents that carry the attribute most, and some at random."""
        about = FeaturesRecord(self.sae.at, self.sae.name, latents=self.sae.latents, explained=self.parts.explained)
        halves = [rows & (self.groups == group) for rows in (self.searching, ~self.searching) for group in (0, 1)]
        if min(int(rows.sum()) for rows in halves) < _FEWEST:
            return replace(about, reason=TOO_FEW)
        values = self.parts.latents_nm
        scores = _standardised(values[halves[0]], values[halves[1]])
        active = np.flatnonzero((values > 0).sum(axis=0) >= FEWEST_ON)
        order = sorted((int(number) for number in active), key=lambda number: (-float(f"{scores[number]:.6g}"), number))
        others = self.rng.permutation(np.array(order[PICKED:], dtype=np.int64))[:RANDOM]
        told = [(number, "difference") for number in order[:PICKED]] + [(int(number), "random") for number in others]
        switching = self._switching()
        tried = tuple(self._latent(number, by, switching) for number, by in told)
        return replace(about, rows=int(sum(map(np.sum, halves[2:]))), active=len(active), tried=tried)

    def _switching(self) -> Ints:
        known = np.flatnonzero(~self.searching & (self.groups >= 0))
        return np.sort(self.rng.permutation(known)[:_MOST_SWITCHED])

    def _latent(self, number: int, by: str, switching: Ints) -> Latent:
        inside = ~self.searching & (self.groups >= 0)
        values = self.parts.latents_nm[:, number].astype(np.float64)
        auroc, influence = auroc_with_influence(values[inside], self.groups[inside] == 1)
        full = np.zeros(len(values))
        full[inside] = influence
        clean = self.parts.outputs_nc[:, self.output]
        off = clean.copy()
        off[switching] = self.parts.without(switching, number, self.output)
        used = np.isin(np.arange(len(clean)), switching)
        found = switched_off(clean, off, self.groups, self.labels, used, _FEWEST_IN_LABEL)
        switched = None if found is None else Switched(found.value, self._full(found.influence_n))
        return Latent(number, auroc, self._full(full), float((values[inside] > 0).mean()), switched, by)

    def _full(self, influence_n: Floats) -> Floats:
        full = np.zeros(self.total)
        full[self.rows] = influence_n
        return full


def _standardised(low_nm: Singles, high_nm: Singles) -> Floats:
    """Difference of two groups' means of each latent, over the spread within groups."""
    difference = high_nm.mean(axis=0, dtype=np.float64) - low_nm.mean(axis=0, dtype=np.float64)
    spread = np.sqrt((low_nm.var(axis=0, dtype=np.float64) + high_nm.var(axis=0, dtype=np.float64)) / 2)
    return np.asarray(np.abs(np.divide(difference, spread, out=np.zeros_like(difference), where=spread > 0)))
