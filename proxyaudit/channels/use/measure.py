"""Measure whether one trained model uses the attributes: subspaces swapped, erased, learned, planted, and joined over sites.

Swaps follow the mean, for the pair of groups and the output whose true labels differ most. Guards measure what would escape that: use
that goes past the sites, that raises some rows and lowers others by as much, that acts where gradients do not point, or on another level
or through another class. What bars absence for it stands in ``estimate``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from proxyaudit.activations.capture import Captured
from proxyaudit.activations.replay import differentiable, outputs_with, replayer
from proxyaudit.arrays import Bools, Floats, Ints, Singles
from proxyaudit.causal import interchange as causal
from proxyaudit.causal.alignment import DifferentiableSite, Logits
from proxyaudit.causal.interchange import InterchangeResult, Replay, ReplayOf, Setting, absent_p, fit_within, interchange, with_donors
from proxyaudit.causal.learned import Learned, block_diagonal, learn_parts, swap_read_downstream
from proxyaudit.causal.planted_use import plant_use
from proxyaudit.channels.base import ModelView
from proxyaudit.channels.use import record
from proxyaudit.data.attributes import Attribute, cut_number
from proxyaudit.data.dataset import Dataset
from proxyaudit.erasers.leace import LeaceEraser, random_subspace, whitening_pair
from proxyaudit.estimates.record import Measurement
from proxyaudit.models.base import NoGradientError, TrainedModel
from proxyaudit.seeding import stream

SURELY = 4.5  # standard errors: some thousand comparisons are looked at
FEWEST = 30  # rows of a group within a half
_FOLLOWED_ROWS = 512
_UNREAD_ROWS = 1000  # of each part
MOST_ASKED = 24  # pairs of a group and an output; beyond it absence is not claimed


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
            rank = acts.shape[1] if rank is None else rank
            found = question.ask(replay, logits, rank) if question else record.SiteUse(reason=causal.TOO_FEW)
            record.USES.write(out, found, attribute.name, site)
    if len(sites) > 1:
        acts = np.concatenate([captured.acts[site] for site in sites], axis=1)
        logits = differentiable(model, x, sites)
        edges = np.cumsum([0, *(captured.acts[site].shape[1] for site in sites)])
        columns = {site: slice(int(a), int(b)) for site, a, b in zip(sites, edges[:-1], edges[1:], strict=True)}
        for attribute in attributes:
            question = _Question.of(view, attribute, record.JOINT, acts)
            found = question.ask_jointly(columns, logits) if question else record.SiteUse(reason=causal.TOO_FEW)
            record.USES.write(out, found, attribute.name, record.JOINT)


class _Question:
    """One attribute at one site (or at several, side by side) of one model."""

    def __init__(self, view: ModelView, attribute: Attribute, site: str, setting: Setting, rng: np.random.Generator) -> None:
        self.view, self.attribute, self.name, self.site = view, attribute, attribute.name, site
        self.decides, self.margin, self.clusters = view.decides, view.recipe.margins.effect, view.dataset.clusters
        self.setting, self.rng, self.output = setting, rng, view.followed[attribute.name].output
        self.permutations = 199 if view.decides else 0  # a reference has numbers, never a state
        # Of several sites side by side: where the units of each stand, and what draws a random subspace that mixes none.
        self.columns: tuple[slice, ...] = ()
        self.random_of: causal.RandomOf | None = None

    @classmethod
    def of(cls, view: ModelView, attribute: Attribute, site: str, acts_nd: NDArray[np.floating]) -> Self | None:
        """``None`` where there are too few rows of both groups."""
        rng, groups = stream(view.recipe.seed, "interchange", attribute.name, site), view.followed[attribute.name].groups_n
        setting = causal.set_up(acts_nd, groups, attribute.concept_columns(), view.labels_n, view.dataset.parts, rng)
        return None if setting is None else cls(view, attribute, site, setting, rng)

    def _site(self, logits: Logits, output: int | None = None) -> DifferentiableSite:
        return DifferentiableSite(logits, self.output if output is None else output, task=self.view.model.task)

    def _stream(self, purpose: str) -> np.random.Generator:
        return stream(self.view.recipe.seed, purpose, self.name, self.site)

    def ask(self, replay: Replay, logits: Logits, rank: int) -> record.SiteUse:
        setting, fitted = self.setting, causal.fit_parts(self.setting)
        use = self._swapped(fitted, lambda _: replay, logits)
        if not self.decides:
            return use
        within = self._within_label()
        if within is not None:
            use = replace(use, within_label=self._interchanged(within, causal.fit_parts(within), lambda _: replay))
        use = replace(use, erased_n=self._erased(fitted, replay))
        too_wide, swaps = rank > record.MOST_DIMENSIONS * setting.rows / 3, [use.leace, use.learned.swap if use.learned else None]
        if too_wide or any(swap is None or swap.effect.size >= self.margin for swap in swaps):
            return use  # only what could be called absent needs its positive control
        if not rank:
            return replace(use, planted=record.PlantedEffects())
        use = replace(use, planted=self._planted(replay, self._site(logits)))
        return replace(use, others=self._others(fitted, replay, logits))

    def _others(self, fitted: list[LeaceEraser], replay: Replay, logits: Logits) -> record.OtherQuestions | None:
        """Other groups and outputs than those followed, if there are any: p is 1 where one cannot be asked. ``fitted`` holds all levels."""
        setting, rng = self.setting, self._stream("other groups and outputs")
        questions = other_questions(self.attribute, setting.groups_n, self.output, self.view.captured.outputs.shape[1])
        if not questions or len(questions) > MOST_ASKED:
            return record.OtherQuestions(1.0, len(questions)) if questions else None
        largest = 0.0
        for groups, output in questions:
            fine = with_donors(replace(setting, groups_n=groups), causal.FINE_DONORS, rng)
            if len(fine.plans) < len(setting.plans):
                return record.OtherQuestions(1.0, len(questions))
            found = learn_parts(fine, self._site(logits, output), fitted, self.margin, rng, free=False)
            for swap in swap_read_downstream(fine, found, lambda _: replay, output, rng):
                largest = max(largest, absent_p([swap.effect], self.clusters, self.margin))
        return record.OtherQuestions(largest, len(questions))

    def ask_jointly(self, columns: Mapping[str, slice], logits: Logits) -> record.SiteUse:
        """The same attribute at several sites in one forward pass; LEACE and learned subspaces, none of which mixes sites."""
        setting = self.setting

        def of_sites(make: Callable[[Floats, Bools], LeaceEraser], part: int) -> LeaceEraser:
            rows = setting.parts_n == part
            return block_diagonal([make(setting.acts_nd[:, own], rows) for own in columns.values()])

        def fit(asked: Setting) -> list[LeaceEraser]:
            return [of_sites(lambda acts_nd, rows: fit_within(asked, acts_nd, rows & asked.known_n), part) for part in range(3)]

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

        self.columns, self.random_of = tuple(columns.values()), random_of
        use = self._swapped(fit(setting), replay_of, logits)
        within = self._within_label() if self.decides else None
        return use if within is None else replace(use, within_label=self._interchanged(within, fit(within), replay_of))

    def _swapped(self, fitted: list[LeaceEraser], replay_of: ReplayOf, logits: Logits) -> record.SiteUse:
        follow, drawn, null = self._site(logits), self.random_of, self.permutations
        leace = interchange(self.setting, fitted, replay_of, self.output, self.rng, random_of=drawn, permutations=null, above=self.margin)
        learned = self._learned(follow, fitted, replay_of)
        return record.SiteUse(leace=self._with_others(leace, fitted), learned=learned)

    def _within_label(self) -> Setting | None:
        """The same question among rows of one true label; ``None`` where no label has enough rows of both groups."""
        s = self.setting
        rng = self._stream("within label")
        return causal.set_up(s.acts_nd, s.groups_n, s.concept_nk, s.labels_n, s.parts_n, rng, within_label=True)

    def _interchanged(self, asked: Setting, fitted: Sequence[LeaceEraser], replay_of: ReplayOf) -> InterchangeResult:
        """The effect beside what decides: no random subspaces, and a null where it exceeds the margin."""
        return interchange(asked, fitted, replay_of, self.output, self._stream("swaps within label"), randoms=0, above=self.margin)

    def _learned(self, follow: DifferentiableSite, fitted: list[LeaceEraser], replay_of: ReplayOf) -> record.LearnedUse:
        setting, rng, guarded = self.setting, self._stream("learned"), self.decides and not self.columns
        free = guarded and self.view.asks("unread")
        try:
            found = learn_parts(setting, follow, fitted, self.margin, rng, free=free, columns=self.columns)
        except NoGradientError as error:
            return record.LearnedUse(reason=str(error))

        def swap(subspaces: list[LeaceEraser]) -> InterchangeResult:
            return interchange(setting, subspaces, replay_of, self.output, rng, randoms=0, permutations=0)

        readable = [one.readable for one in found]
        result, read = swap(readable), None
        if self.decides and result.effect.size > self.margin:
            # Only what exceeds the margin needs its null and the random subspaces beside it.
            result = interchange(setting, readable, replay_of, self.output, rng, random_of=self.random_of)
        elif self.decides:
            # Only what does not is asked whether it is absent.
            swaps = swap_read_downstream(with_donors(setting, causal.FINE_DONORS, rng), found, replay_of, self.output, rng)
            result, read = swaps[0], swaps[-1]
        unread = 0.0
        if guarded:
            unread = unread_effect(setting, found, replay_of(found[0].unread), self.output, self._stream("unread"))
        every = [one.free for one in found if one.free is not None]
        beside = self._with_others(swap(every), every) if free else None
        return record.LearnedUse(None, self._with_others(result, readable), read, beside, unread)

    def _with_others(self, result: InterchangeResult, subspaces: Sequence[LeaceEraser]) -> InterchangeResult:
        """With the share of each other attribute's difference between groups that a fresh probe reads in what the swap moved."""
        setting, found = self.setting, dict[str, float]()
        for other in self.view.dataset.attributes if self.decides else ():
            if not set(other.columns).isdisjoint(self.attribute.columns):
                continue  # an intersection and what it is made of move together
            concept, groups, shares = other.concept_columns(), self.view.followed[other.name].groups_n, []
            known = np.isfinite(concept).all(axis=1)
            for part, plan in setting.plans:
                rows = known & (setting.parts_n == (part + 2) % 3)
                subspace = subspaces[(part + 1) % 3]
                if subspace.rank and rows.any():
                    shares.append(
                        causal.share_read(causal.moved_by(setting, subspace, plan), setting.acts_nd[rows], concept[rows], groups[rows])
                    )
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


def measure_guards(model: TrainedModel, captured: Captured, x_np: Singles, dataset: Dataset, root: int) -> record.Guards:
    """Measure the guards of one model."""
    # Token numbers of a text say nothing by being above or below their mean.
    columns, inside = x_np[:, :0] if dataset.text is not None else x_np, list[Floats]()
    for site in model.verdict_sites:
        acts = np.asarray(captured.acts[site], dtype=np.float64)
        mean, to_white, _ = whitening_pair(acts)
        inside.append((acts - mean) @ to_white)
    by_column, by_direction = (
        {a.name: moderated_gap(captured.outputs, _indicators(a), moderators) for a in dataset.attributes}
        for moderators in (columns, np.concatenate(inside, axis=1))
    )
    return record.Guards(outputs_past(model, captured, x_np, root), by_column, by_direction)


def outputs_past(model: TrainedModel, captured: Captured, x_np: Singles, root: int) -> float:
    """Largest change of an output when other rows run with the verdict sites set to these rows' values; 0 where all follows from them."""
    if len(model.verdict_sites) == 1 and model.taps[model.verdict_sites[0]].tail == "method":
        return 0.0  # the package's own architectures run what follows the site from its value alone; of a user's head that is only likely
    rng = stream(root, "past the sites")
    rows = rng.permutation(len(x_np))[:_FOLLOWED_ROWS]
    others = rows[rng.permutation(len(rows))]
    values = {site: np.asarray(captured.acts[site], dtype=np.float64)[rows] for site in model.verdict_sites}
    maps = {site: (np.eye(one.shape[1]), np.eye(one.shape[1]), one) for site, one in values.items()}
    return float(np.abs(outputs_with(model, x_np[others], maps) - captured.outputs[rows]).max())


def moderated_gap(outputs_nc: Floats, groups_nk: Floats, moderators_nm: NDArray[Any]) -> float:
    """Largest sure half-difference of the output gap between the upper and the lower half of any moderator; 0 where none is sure.

    Use whose gaps cancel over all rows shows as gaps that differ between halves of the rows. Each column of ``groups_nk`` marks a group,
    which is compared with all other rows; NaN rows are left out. Moderators are cut at each group's own mean: cut at one mean, a moderator
    that mixes the group with what the model rightly reads is a collider, and a model that ignores the group seems to use it.
    """
    largest = 0.0
    for group in groups_nk.T:
        known = np.isfinite(group)
        inside, moderators = group[known] > 0, moderators_nm[known]
        half = np.empty(moderators.shape)
        for side in (inside, ~inside):
            half[side] = moderators[side] > moderators[side].mean(axis=0)
        for output in outputs_nc[known].T:
            sums = [np.stack([side * 1.0, side * output, side * output**2], axis=1) for side in (inside, ~inside)]
            up, total = [half.T @ part for part in sums], [part.sum(axis=0) for part in sums]
            gap, variance = np.zeros((2, half.shape[1])), np.zeros((2, half.shape[1]))
            enough = np.ones(half.shape[1], dtype=bool)
            for index in (0, 1):  # the upper half, the lower half
                for sign, one, whole in ((1, up[0], total[0]), (-1, up[1], total[1])):
                    n, s, q = (one if index == 0 else whole - one).T
                    enough &= n >= FEWEST
                    mean = s / np.maximum(n, 1)
                    gap[index] += sign * mean
                    variance[index] += np.maximum(q / np.maximum(n, 1) - mean**2, 0) / np.maximum(n, 1)
            difference = np.abs(gap[0] - gap[1]) / 2
            sure = enough & (difference > SURELY * np.sqrt(variance.sum(axis=0)) / 2)
            largest = max(largest, float(difference[sure].max(initial=0.0)))
    return largest


def unread_effect(setting: Setting, found: Sequence[Learned], replay: Replay, output: int, rng: np.random.Generator) -> float:
    """Root mean square change of the output when all that gradients call unread (steps, saturated units) is swapped with other rows'."""
    squares = []
    for part, one in enumerate(found):
        if one.unread.rank == 0:
            continue
        rows = np.flatnonzero(setting.parts_n == (part + 1) % 3)
        rows = rows[rng.permutation(len(rows))[:_UNREAD_ROWS]]
        coordinates = one.unread.coordinates(setting.acts_nd[rows])
        change = coordinates[rng.permutation(len(rows))] - coordinates
        moved = replay(one.unread.shift(change), rows)[:, output] - replay(np.zeros_like(setting.acts_nd[rows]), rows)[:, output]
        squares.append(float((moved**2).mean()))
    return float(np.sqrt(np.mean(squares))) if squares else 0.0


def _indicators(attribute: Attribute) -> Floats:
    """Columns that compare each level (one of two) with all others; NaN where the attribute is missing."""
    codes = level_codes(attribute)
    highest = int(codes.max())
    levels = np.array([1]) if highest == 1 else np.arange(highest + 1)
    return np.where(codes[:, None] < 0, np.nan, (codes[:, None] == levels).astype(np.float64))


def level_codes(attribute: Attribute) -> Ints:
    """Level of each row, or quarter of a number; -1 where the attribute is missing."""
    codes, known = np.asarray(attribute.codes), attribute.known
    levels = np.full(len(codes), -1, dtype=np.int64)
    levels[known] = codes[known] if attribute.classes else cut_number(codes[known])
    return levels


def other_questions(attribute: Attribute, groups_n: Ints, output: int, outputs: int) -> list[tuple[Ints, int]]:
    """Groups (0, 1 or -1) and output of each question beside the followed one: every level, or quarter of a number, against all others."""
    levels = level_codes(attribute)
    named = [level for level in np.unique(levels) if level >= 0]
    asked = [groups_n] if len(named) == 2 else [np.where(levels < 0, -1, (levels == level).astype(np.int64)) for level in named]
    found = [(groups, column) for groups in asked for column in range(outputs)]
    return [(groups, column) for groups, column in found if groups is not groups_n or column != output]
