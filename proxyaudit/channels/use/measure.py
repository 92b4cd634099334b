"""Measure whether one trained model uses the attributes: subspaces swapped, erased, learned, planted, and joined over sites."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from proxyaudit.activations.replay import differentiable, outputs_with, replayer
from proxyaudit.arrays import Bools, Floats, Ints
from proxyaudit.causal.alignment import DifferentiableSite, Logits
from proxyaudit.causal.interchange import (
    DONORS,
    FINE_DONORS,
    TOO_FEW,
    InterchangeResult,
    RandomOf,
    Replay,
    ReplayOf,
    Setting,
    absent_p,
    fit_parts,
    interchange,
    moved_by,
    set_up,
    share_read,
    with_donors,
)
from proxyaudit.causal.learned import block_diagonal, learn_parts, swap_read_downstream
from proxyaudit.causal.planted_use import plant_use
from proxyaudit.channels.base import ModelView
from proxyaudit.channels.use import record
from proxyaudit.channels.use.guards import measure_guards, other_questions, others_absent, unread_effect
from proxyaudit.data.attributes import Attribute
from proxyaudit.erasers.leace import LeaceEraser, fit_leace, random_subspace
from proxyaudit.estimates.record import Measurement
from proxyaudit.models.base import NoGradientError
from proxyaudit.seeding import stream


def measure(view: ModelView, out: Measurement) -> None:
    """Interchange every attribute at every verdict site, and at all of them together; results go into ``out``."""
    model, captured, x, attributes = view.model, view.captured, view.x, view.dataset.attributes
    sites = model.verdict_sites
    if view.decides:
        record.GUARDS.write(out, measure_guards(model, captured, x, view.dataset, view.recipe.seed))
    for site in sites:
        acts = captured.acts[site]
        replay, logits = replayer(model, x, site, acts), differentiable(model, x, (site,), acts)
        for attribute in attributes:
            rank = record.axes_at(out, attribute.name, site).rank
            question = _Question.of(view, attribute, site, acts)
            found = question.ask(replay, logits, acts.shape[1] if rank is None else rank) if question else record.SiteUse(reason=TOO_FEW)
            record.USES.write(out, found, attribute.name, site)
    if len(sites) > 1:
        acts = np.concatenate([captured.acts[site] for site in sites], axis=1)
        logits = differentiable(model, x, sites)
        edges = np.cumsum([0, *(captured.acts[site].shape[1] for site in sites)])
        columns = {site: slice(int(a), int(b)) for site, a, b in zip(sites, edges[:-1], edges[1:], strict=True)}
        for attribute in attributes:
            question = _Question.of(view, attribute, record.JOINT, acts)
            found = question.ask_jointly(columns, logits) if question else record.SiteUse(reason=TOO_FEW)
            record.USES.write(out, found, attribute.name, record.JOINT)


class _Question:
    """One attribute at one site (or at several, side by side) of one model."""

    def __init__(self, view: ModelView, attribute: Attribute, site: str, setting: Setting, rng: np.random.Generator) -> None:
        self.view, self.attribute, self.name, self.site = view, attribute, attribute.name, site
        self.decides, self.margin, self.clusters = view.decides, view.recipe.margins.effect, view.dataset.clusters
        self.setting, self.rng, self.output = setting, rng, view.followed[attribute.name].output
        self.permutations = 199 if view.decides else 0  # a reference has numbers, never a state
        self.any_label: Setting | None = None

    @classmethod
    def of(cls, view: ModelView, attribute: Attribute, site: str, acts_nd: NDArray[np.floating]) -> _Question | None:
        """``None`` where no label has enough rows of both groups."""
        rng, groups = stream(view.recipe.seed, "interchange", attribute.name, site), view.followed[attribute.name].groups_n
        setting = set_up(acts_nd, groups, attribute.concept_columns(), view.labels_n, view.dataset.parts, rng)
        return None if setting is None else cls(view, attribute, site, setting, rng)

    def _stream(self, purpose: str) -> np.random.Generator:
        return stream(self.view.recipe.seed, purpose, self.name, self.site)

    def ask(self, replay: Replay, logits: Logits, rank: int) -> record.SiteUse:
        """Everything about one site."""
        setting, fitted = self.setting, fit_parts(self.setting)
        use = self._swapped(fitted, lambda _: replay, logits)
        if not self.decides:
            return use
        use = replace(use, erased_n=self._erased(fitted, replay))
        too_wide, swaps = rank > record.MOST_DIMENSIONS * setting.rows / 3, [use.leace, use.learned.swap if use.learned else None]
        if too_wide or any(swap is None or swap.effect.size >= self.margin for swap in swaps):
            return use  # only what could be called absent needs its positive control
        if not rank:
            return replace(use, planted=record.PlantedEffects())
        use = replace(use, planted=self._planted(replay, DifferentiableSite(logits, self.output)))
        questions = other_questions(self.attribute, setting.groups_n, self.output, self.view.captured.outputs.shape[1])
        if not questions:
            return use
        rng = self._stream("other groups and outputs")
        others = others_absent(
            setting, questions, fitted, replay, lambda output: DifferentiableSite(logits, output), self.margin, self.clusters, rng
        )
        return replace(use, others=others)

    def ask_jointly(self, columns: Mapping[str, slice], logits: Logits) -> record.SiteUse:
        """The same attribute at several sites in one forward pass; LEACE and learned subspaces, none of which mixes sites."""
        setting = self.setting

        def of_sites(make: Callable[[Floats, Bools], LeaceEraser], part: int) -> LeaceEraser:
            rows = setting.parts_n == part
            return block_diagonal([make(setting.acts_nd[:, own], rows) for own in columns.values()])

        def leace_of(acts_nd: Floats, rows: Bools) -> LeaceEraser:
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
                return outputs_with(self.view.model, self.view.x[rows], maps)

            return replay

        fitted = [of_sites(leace_of, part) for part in range(3)]
        return self._swapped(fitted, replay_of, logits, tuple(columns.values()), random_of)

    def _swapped(
        self,
        fitted: list[LeaceEraser],
        replay_of: ReplayOf,
        logits: Logits,
        columns: tuple[slice, ...] = (),
        random_of: RandomOf | None = None,
    ) -> record.SiteUse:
        """LEACE and learned subspaces."""
        permutations, follow = self.permutations, DifferentiableSite(logits, self.output)
        leace = interchange(self.setting, fitted, replay_of, self.output, self.rng, random_of=random_of, permutations=permutations)
        any_label = self._whatever_label(leace, fitted, replay_of)
        learned = self._learned(follow, fitted, replay_of, columns, random_of)
        return record.SiteUse(leace=self._with_others(leace, fitted), any_label=any_label, learned=learned)

    def _learned(
        self,
        follow: DifferentiableSite,
        fitted: list[LeaceEraser],
        replay_of: ReplayOf,
        columns: tuple[slice, ...],
        random_of: RandomOf | None,
    ) -> record.LearnedUse:
        setting, rng, free = self.setting, self._stream("learned"), self.decides and not columns
        try:
            found = learn_parts(setting, follow, fitted, self.margin, rng, free=free, columns=columns)
        except NoGradientError as error:
            return record.LearnedUse(reason=str(error))

        def swap(subspaces: list[LeaceEraser]) -> InterchangeResult:
            return interchange(setting, subspaces, replay_of, self.output, rng, randoms=0, permutations=0)

        readable = [one.readable for one in found]
        result, any_label, read = swap(readable), None, None
        if self.decides and result.effect.size > self.margin:
            # Only what exceeds the margin needs its null and the random subspaces beside it.
            result = interchange(setting, readable, replay_of, self.output, rng, random_of=random_of)
            any_label = self._whatever_label(result, readable, replay_of)
        elif self.decides:
            # Only what does not is asked whether it is absent.
            swaps = swap_read_downstream(with_donors(setting, FINE_DONORS, rng), found, replay_of, self.output, rng)
            result, read = swaps[0], swaps[-1]
        unread = 0.0
        if free:
            unread = unread_effect(setting, found, replay_of(found[0].unread), self.output, self._stream("unread"))
        every = [one.free for one in found if one.free is not None]
        beside = self._with_others(swap(every), every) if free else None
        return record.LearnedUse(None, self._with_others(result, readable), any_label, read, beside, unread)

    def _whatever_label(self, result: InterchangeResult, subspaces: Sequence[LeaceEraser], replay_of: ReplayOf) -> InterchangeResult | None:
        """The effect with donors of any label, where the one within labels is large enough to be claimed.

        Within a label something that the model rightly reads may differ between the groups, though not over all people (a collider).
        """
        if not self.decides or result.effect.size <= self.margin:
            return None
        rng = self._stream("any label")
        if self.any_label is None:
            self.any_label = with_donors(replace(self.setting, labels_n=np.zeros_like(self.setting.labels_n)), DONORS, rng)
        return interchange(self.any_label, subspaces, replay_of, self.output, rng, randoms=0)

    def _with_others(self, result: InterchangeResult, subspaces: Sequence[LeaceEraser]) -> InterchangeResult:
        """With the share of each other attribute's difference between groups that a fresh probe reads in what the swap moved."""
        setting, found = self.setting, dict[str, float]()
        for other in self.view.dataset.attributes if self.decides else ():
            if other.name == self.name:
                continue
            concept, groups, shares = other.concept_columns(), self.view.followed[other.name].groups_n, []
            known = np.isfinite(concept).all(axis=1)
            for part, plan in setting.plans:
                rows = known & (setting.parts_n == (part + 2) % 3)
                subspace = subspaces[(part + 1) % 3]
                if subspace.rank and rows.any():
                    shares.append(share_read(moved_by(setting, subspace, plan), setting.acts_nd[rows], concept[rows], groups[rows]))
            told = [share for share in shares if share is not None]
            if told:
                found[other.name] = float(np.mean(told))
        return replace(result, others=found)

    def _erased(self, fitted: list[LeaceEraser], replay: Replay) -> Floats:
        """The followed output of every row with the subspace's coordinates set to their mean, by subspaces of the other parts."""
        setting, outputs = self.setting, np.zeros(len(self.setting.acts_nd))
        for part in range(3):
            rows = np.flatnonzero(setting.parts_n == part)
            for eraser in (fitted[(part + 1) % 3], fitted[(part + 2) % 3]):
                change = -eraser.coordinates(setting.acts_nd[rows])
                outputs[rows] += replay(eraser.shift(change), rows)[:, self.output] / 2
        return outputs

    def _planted(self, replay: Replay, follow: DifferentiableSite) -> record.PlantedEffects:
        leak, rng = self.view.recipe.margins.leak, self._stream("planted use")
        found = plant_use(self.setting, replay, follow, self.output, self.margin, leak, rng)
        if isinstance(found, str):
            return record.PlantedEffects(reason=found)
        sizes = []
        for one in found:
            effects = (one.leace.effect, one.learned.effect)
            absent = max(absent_p([effect], self.clusters, self.margin) for effect in effects)
            sizes.append(record.PlantedEffect(one.times, one.truth, effects[0].size, effects[1].size, absent))
        return record.PlantedEffects(sizes=tuple(sizes))
