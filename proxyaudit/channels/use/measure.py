"""Measure whether one trained model uses the attributes: subspaces swapped, erased, learned, planted, and joined over sites."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyaudit.activations.capture import Captured, differentiable, outputs_with, replayer
from proxyaudit.arrays import Floats, Ints
from proxyaudit.causal.alignment import DifferentiableSite, NoGradientError
from proxyaudit.causal.donors import DONORS, FINE_DONORS
from proxyaudit.causal.interchange import (
    InterchangeResult,
    Replay,
    Setting,
    fit_parts,
    moved_by,
    set_up,
    share_read,
    with_donors,
)
from proxyaudit.causal.interchange import (
    measure as interchange,
)
from proxyaudit.causal.learned import all_read, block_diagonal, learn_parts
from proxyaudit.causal.planted_use import plant_use
from proxyaudit.channels.base import ModelView
from proxyaudit.channels.use.estimate import ANY_LABEL, JOINT, MOST_DIMENSIONS, single_absent_p
from proxyaudit.channels.use.guards import measure_guards, unread_effect
from proxyaudit.channels.use.other_groups import other_questions, others_absent
from proxyaudit.data.dataset import Attribute, Dataset
from proxyaudit.erasers.leace import LeaceEraser, fit_leace, random_subspace
from proxyaudit.estimates.record import Measurement, cell_key
from proxyaudit.models.base import TrainedModel
from proxyaudit.recipe.recipe import Margins
from proxyaudit.seeding import stream

TOO_FEW = "no label has enough rows of both groups"


@dataclass(frozen=True)
class UseTask:
    """What is asked of one model.

    Attributes:
        root: Root seed.
        margins: Effects that matter.
        followed: For each attribute the groups compared and the output column followed.
        concepts: For each attribute the columns its subspace is fitted to.
        decides: Whether a verdict rests on the numbers; of a reference only the effects are needed.
    """

    root: int
    margins: Margins
    followed: dict[str, tuple[Ints, int]]
    concepts: dict[str, Floats]
    decides: bool


def measure_use(
    model: TrainedModel, captured: Captured, x_np: NDArray[np.float32], dataset: Dataset, labels_n: Ints, task: UseTask, out: Measurement
) -> None:
    """Interchange every attribute at every verdict site, and at all of them together; results go into ``out``."""
    sites = model.verdict_sites
    if task.decides:
        measure_guards(model, captured, x_np, dataset, task.root, out)
    for site in sites:
        known = captured.acts[site]
        replay, logits = replayer(model, x_np, site, known), differentiable(model, x_np, (site,), known)
        for attribute in dataset.attributes:
            question = _Question(task, dataset, labels_n, attribute, site, captured.acts[site], out)
            question.ask(replay, logits, captured.outputs.shape[1])
    if len(sites) > 1:
        acts = np.concatenate([captured.acts[site] for site in sites], axis=1)
        logits = differentiable(model, x_np, sites)
        edges = np.cumsum([0, *(captured.acts[site].shape[1] for site in sites)])
        columns = {site: slice(int(a), int(b)) for site, a, b in zip(sites, edges[:-1], edges[1:], strict=True)}
        for attribute in dataset.attributes:
            _Question(task, dataset, labels_n, attribute, JOINT, acts, out).ask_jointly(model, x_np, columns, logits)


class _Question:
    """One attribute at one site (or at several, side by side) of one model."""

    def __init__(
        self, task: UseTask, dataset: Dataset, labels_n: Ints, attribute: Attribute, site: str, acts_nd: NDArray[Any], out: Measurement
    ) -> None:
        self.task, self.dataset, self.out, self.name, self.site = task, dataset, out, attribute.name, site
        self.attribute = attribute
        groups, self.output = task.followed[attribute.name]
        self.rng = stream(task.root, "interchange", attribute.name, site)
        self.permutations = 199 if task.decides else 0  # a reference has numbers, never a state
        self.setting = set_up(acts_nd, groups, task.concepts[attribute.name], labels_n, dataset.parts, self.rng)
        self.any_label: Setting | None = None

    def ask(self, replay: Replay, logits: Callable[..., Any], columns: int) -> None:
        """Everything about one site; ``columns`` are those of the outputs."""
        setting, task = self.setting, self.task
        if setting is None:
            self._store({"reason": TOO_FEW})
            return
        fitted, follow = fit_parts(setting), DifferentiableSite(logits, self.output)
        leace = interchange(setting, fitted, lambda _: replay, self.output, self.rng, permutations=self.permutations)
        cell = {**self._numbers(leace, "", fitted), "reason": None}
        cell |= self._whatever_label(leace, fitted, lambda _: replay, "")
        cell["learned"], swapped = self._learned(follow, fitted, lambda _: replay, ())
        if task.decides:
            self._keep("erased", self._erased(setting, fitted, replay))
            sizes = [leace.effect.size, *([] if swapped is None else [swapped.effect.size])]
            rank = self.out.numbers.get("cells", {}).get(self.name, {}).get(self.site, {}).get("rank", setting.acts_nd.shape[1])
            # Only what could be called absent needs its positive control.
            if swapped is not None and max(sizes) < task.margins.effect and rank <= MOST_DIMENSIONS * setting.rows / 3:
                cell["planted"] = self._planted(setting, replay, follow) if rank else {"reason": None, "sizes": []}
                questions = other_questions(self.attribute, setting.groups_n, self.output, columns) if rank else []
                if questions:
                    rng = stream(task.root, "other groups and outputs", self.name, self.site)
                    clusters, margin = self.dataset.clusters, task.margins.effect
                    cell["other questions"] = others_absent(
                        setting, questions, fitted, replay, lambda output: DifferentiableSite(logits, output), margin, clusters, rng
                    )
        self._store(cell)

    def ask_jointly(self, model: TrainedModel, x_np: NDArray[np.float32], columns: dict[str, slice], logits: Callable[..., Any]) -> None:
        """The same attribute at several sites in one forward pass; LEACE and learned subspaces, none of which mixes sites."""
        setting = self.setting
        if setting is None:
            self._store({"reason": TOO_FEW})
            return

        def of_sites(make: Callable[[Floats, NDArray[np.bool_]], LeaceEraser], part: int) -> LeaceEraser:
            rows = setting.parts_n == part
            return block_diagonal([make(setting.acts_nd[:, own], rows) for own in columns.values()])

        def leace_of(acts_nd: Floats, rows: NDArray[np.bool_]) -> LeaceEraser:
            return fit_leace(acts_nd[rows & setting.known_n], setting.concept_nk[rows & setting.known_n])

        def random_of(part: int, rank: int, rng: np.random.Generator) -> LeaceEraser:
            each = max(rank // len(columns), 1)
            return of_sites(lambda acts_nd, rows: random_subspace(acts_nd[rows], each, rng), part)

        def replay_of(subspace: LeaceEraser) -> Replay:
            owned = {site: np.abs(subspace.read_dr[own]).sum(axis=0) > 0 for site, own in columns.items()}

            def replay(shift: Floats, rows: Ints) -> Floats:
                coordinates = (setting.acts_nd[rows] + shift) @ subspace.read_dr
                maps = {
                    site: (subspace.read_dr[own][:, owned[site]], subspace.write_rd[owned[site]][:, own], coordinates[:, owned[site]])
                    for site, own in columns.items()
                }
                return outputs_with(model, x_np[rows], maps)

            return replay

        fitted = [of_sites(leace_of, part) for part in range(3)]
        leace = interchange(setting, fitted, replay_of, self.output, self.rng, random_of=random_of, permutations=self.permutations)
        cell = {**self._numbers(leace, "", fitted), "reason": None}
        cell |= self._whatever_label(leace, fitted, replay_of, "")
        cell["learned"], _ = self._learned(DifferentiableSite(logits, self.output), fitted, replay_of, tuple(columns.values()), random_of)
        self._store(cell)

    def _learned(
        self,
        follow: DifferentiableSite,
        fitted: list[LeaceEraser],
        replay_of: Callable[[LeaceEraser], Replay],
        columns: tuple[slice, ...],
        random_of: Callable[[int, int, np.random.Generator], LeaceEraser] | None = None,
    ) -> tuple[dict[str, Any], InterchangeResult | None]:
        assert self.setting is not None
        rng, task = stream(self.task.root, "learned", self.name, self.site), self.task
        free = task.decides and not columns
        try:
            found = learn_parts(self.setting, follow, fitted, task.margins.effect, rng, free=free, columns=columns)
        except NoGradientError as error:
            return {"reason": str(error)}, None
        readable = [one.readable for one in found]
        numbers: dict[str, Any] = {}
        result = interchange(self.setting, readable, replay_of, self.output, rng, randoms=0, permutations=0)
        if task.decides and result.effect.size > task.margins.effect:
            # Only what exceeds the margin needs its null and the random subspaces beside it.
            result = interchange(self.setting, readable, replay_of, self.output, rng, random_of=random_of)
            numbers |= self._whatever_label(result, readable, replay_of, "learned ")
        elif task.decides:
            # Only what does not is asked whether it is absent.
            fine = with_donors(self.setting, FINE_DONORS, rng)
            result = part = interchange(fine, readable, replay_of, self.output, rng, randoms=0, permutations=0, spread=True)
            if not all_read(found):
                read = [one.leace for one in found]
                part = interchange(fine, read, replay_of, self.output, rng, randoms=0, permutations=0, spread=True)
            numbers["read"] = self._numbers(part, "read ", [])
        numbers |= {
            **self._numbers(result, "learned ", readable),
            "reason": None,
            "dimensions read": max(one.read for one in found),
            "bands": max(one.bands for one in found),
        }
        if task.decides and not columns:
            rng = stream(self.task.root, "unread", self.name, self.site)
            numbers["unread"] = unread_effect(self.setting, found, replay_of(found[0].unread), self.output, rng)
        if free:
            every = [one.free for one in found if one.free is not None]
            mixed = interchange(self.setting, every, replay_of, self.output, rng, randoms=0, permutations=0)
            numbers["free"] = self._numbers(mixed, "free ", every)
        return numbers, result

    def _whatever_label(
        self, result: InterchangeResult, subspaces: Sequence[LeaceEraser], replay_of: Callable[[LeaceEraser], Replay], prefix: str
    ) -> dict[str, Any]:
        """The effect with donors of any label, where the one within labels is large enough to be claimed.

        Where labels depend on the attribute and on something else that the model rightly reads, that something differs between the groups
        *within* a label though not over all people (a collider), and a fair model would seem to use the attribute.
        """
        if not self.task.decides or result.effect.size <= self.task.margins.effect or self.setting is None:
            return {}
        rng = stream(self.task.root, "any label", self.name, self.site)
        if self.any_label is None:
            one = np.zeros_like(self.setting.labels_n)
            self.any_label = with_donors(replace(self.setting, labels_n=one), DONORS, rng)
        beside = interchange(self.any_label, subspaces, replay_of, self.output, rng, randoms=0)
        return {ANY_LABEL: self._numbers(beside, f"{prefix}{ANY_LABEL} ", [])}

    def _numbers(self, result: InterchangeResult, prefix: str, subspaces: list[LeaceEraser]) -> dict[str, Any]:
        self._keep(prefix + "signed", result.effect.signed_influence_n)
        self._keep(prefix + "product", result.effect.product_influence_n)
        return {
            "signed": result.effect.signed,
            "product": result.effect.product,
            "parts": [list(part) for part in result.effect.parts],
            "spread": [list(part) for part in result.effect.spread],
            "random": [float(size) for size in result.random_sizes],
            "null": [float(size) for size in result.null_sizes],
            "completeness": result.completeness,
            "selectivity": result.selectivity,
            "rank": result.rank,
            "n": result.rows,
            "others": self._others(subspaces) if self.task.decides and subspaces else {},
        }

    def _others(self, subspaces: list[LeaceEraser]) -> dict[str, float]:
        """Share of each other attribute's difference between groups that a fresh probe reads in what the swap moved."""
        setting, found = self.setting, {}
        assert setting is not None
        for name, (groups, _) in self.task.followed.items():
            if name == self.name:
                continue
            concept, shares = self.task.concepts[name], []
            known = np.isfinite(concept).all(axis=1)
            for part, plan in setting.plans:
                rows = known & (setting.parts_n == (part + 2) % 3)
                subspace = subspaces[(part + 1) % 3]
                if subspace.rank and rows.any():
                    shares.append(share_read(moved_by(setting, subspace, plan), setting.acts_nd[rows], concept[rows], groups[rows]))
            told = [share for share in shares if share is not None]
            if told:
                found[name] = float(np.mean(told))
        return found

    def _erased(self, setting: Setting, fitted: list[LeaceEraser], replay: Replay) -> Floats:
        """The followed output of every row with the subspace's coordinates set to their mean, by subspaces of the other parts."""
        outputs = np.zeros(len(setting.acts_nd))
        for part in range(3):
            rows = np.flatnonzero(setting.parts_n == part)
            for eraser in (fitted[(part + 1) % 3], fitted[(part + 2) % 3]):
                change = -eraser.coordinates(setting.acts_nd[rows])
                outputs[rows] += replay(eraser.shift(change), rows)[:, self.output] / 2
        return outputs

    def _planted(self, setting: Setting, replay: Replay, follow: DifferentiableSite) -> dict[str, Any]:
        margin, clusters = self.task.margins.effect, self.dataset.clusters
        rng = stream(self.task.root, "planted use", self.name, self.site)
        found = plant_use(setting, replay, follow, self.output, margin, self.task.margins.leak, rng)
        if isinstance(found, str):
            return {"reason": found}
        sizes = []
        for one in found:
            tests = []
            for result in (one.leace, one.learned):
                e = result.effect
                numbers = {"signed": e.signed, "product": e.product, "spread": [list(part) for part in e.spread]}
                arrays = {"signed": e.signed_influence_n, "product": e.product_influence_n}
                tests.append(single_absent_p(numbers, arrays, "", clusters, margin))
            size = {"truth": one.truth, "leace": one.leace.effect.size, "learned": one.learned.effect.size}
            sizes.append({**size, "times": one.times, "absent_p": max(tests)})
        return {"reason": None, "sizes": sizes}

    def _keep(self, what: str, array: Floats) -> None:
        self.out.arrays[cell_key(self.name, self.site, what)] = array

    def _store(self, cell: dict[str, Any]) -> None:
        self.out.numbers.setdefault("interchange", {}).setdefault(self.name, {})[self.site] = cell


def task_of(view: ModelView) -> UseTask:
    """What is asked of a model."""
    followed = {name: (one.groups_n, one.output) for name, one in view.followed.items()}
    concepts = {attribute.name: attribute.concept_columns() for attribute in view.dataset.attributes}
    return UseTask(view.recipe.seed, view.recipe.margins, followed, concepts, decides=view.decides)


def measure(view: ModelView, out: Measurement) -> None:
    """Interchange every attribute at every verdict site; results go into ``out``."""
    measure_use(view.model, view.captured, view.x, view.dataset, view.labels_n, task_of(view), out)
