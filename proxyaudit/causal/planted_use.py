"""A planted use: does the machinery that finds no effect find one that was put there?

An attribute is planted on the activations at the smallest leak that counts, and a readout of its direction is added to the followed
output's log-odds, as strong as moving the output by the wanted effect takes. The direction is one that the model hardly reads by itself,
so that the plant is as hard to find as any attribute that the audit would still call encoded.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from scipy.special import expit, logit

from proxyaudit.arrays import Floats, Ints
from proxyaudit.causal.alignment import DifferentiableSite, Planted
from proxyaudit.causal.interchange import FINE_DONORS, InterchangeResult, Replay, ReplayOf, Setting, fit_parts, set_up, with_donors
from proxyaudit.causal.learned import learn_parts, sensitive_bands, swap_read_downstream
from proxyaudit.erasers.leace import whitening_pair
from proxyaudit.stats.spike_in import Prior, plant_at_leak

TIMES = (1.0, 2.0)
Link = Callable[[Floats], Floats]
_EDGE = 1e-12
_STRONGEST = 64.0  # log-odds for each standard deviation: beyond it the output is a step
_SOLVING_ROWS = 3000


@dataclass(frozen=True)
class PlantedUse:
    """A planted effect and what the machinery made of it."""

    times: float  # wanted effect as a multiple of the margin
    truth: float  # effect of interchanging the planted direction itself
    leace: InterchangeResult  # effect of the readable part of the LEACE subspace fitted to the planted attribute
    learned: InterchangeResult  # effect of the learned subspace


def plant_use(
    setting: Setting, replay: Replay, site: DifferentiableSite, output: int, margin: float, leak: float, rng: Generator
) -> list[PlantedUse] | str:
    """Plant effects of once and twice the margin and look for them.

    The planted attribute has the base rate of the two groups and the given ``leak``, and is missing where they are. Gives a reason where
    nothing could be planted.
    """
    inside = np.flatnonzero(setting.groups_n >= 0)
    mean, to_white, from_white = whitening_pair(setting.acts_nd[inside])
    direction = _unread_direction(setting, site, inside, from_white, margin, rng)
    if direction is None:
        return "the site is constant"
    read = to_white @ direction
    score = (setting.acts_nd - mean) @ read
    rate = float((setting.groups_n[inside] == 1).mean())
    plant = plant_at_leak(score[inside], Prior.of_rates(np.array([1 - rate, rate]), len(inside)), leak)
    if plant is None:
        return "no attribute of that leak can be planted on the direction"
    groups = np.full(len(score), -1, dtype=np.int64)
    groups[inside] = plant.draw(rng)
    concept = np.where(groups >= 0, groups, np.nan).astype(np.float64)[:, None]
    planted = set_up(setting.acts_nd, groups, concept, setting.labels_n, setting.parts_n, rng)
    if planted is None:
        return "there are too few rows of both planted groups"
    links = _links(site)
    effect_of = _oracle(planted, replay, output, score, from_white @ direction, rng, links)
    # Fitted to activations and labels alone: the same in every planted model.
    fitted, fine = fit_parts(planted), with_donors(planted, FINE_DONORS, rng)
    found: list[PlantedUse] = []
    for times in TIMES:
        strength = _solve(effect_of, times * margin)
        if strength is None:
            return "no readout of that direction moves the output that much"
        model = _planted_replay(replay, score, read, strength, output, links)
        learned = learn_parts(planted, replace(site, planted=Planted(read, score, strength)), fitted, margin, rng, free=False)
        swaps = swap_read_downstream(fine, learned, model, 0, rng)
        found.append(PlantedUse(times, effect_of(strength), swaps[-1], swaps[0]))
    return found


def _unread_direction(
    setting: Setting, site: DifferentiableSite, inside: Ints, from_white: Floats, margin: float, rng: Generator
) -> Floats | None:
    """A random whitened direction, outside what the model reads where there is such a place."""
    dimensions = from_white.shape[1]
    if not dimensions:
        return None
    rows = np.sort(rng.permutation(inside)[:_SOLVING_ROWS])
    bands = sensitive_bands(site.gradients(rows, setting.acts_nd.shape[1]) @ from_white, margin)
    direction = np.asarray(rng.normal(size=dimensions), dtype=np.float64)
    for band in bands:
        rest = np.asarray(direction - band @ (band.T @ direction), dtype=np.float64)
        if np.linalg.norm(rest) < 1e-3 * np.linalg.norm(direction):
            break  # the model reads all there is; the last bands, which it reads least, keep the direction
        direction = rest
    return np.asarray(direction / np.linalg.norm(direction))


def _links(site: DifferentiableSite) -> tuple[Link, Link]:
    """From outputs to what a readout is added to, and back: log-odds of probabilities, a number itself."""
    if site.task == "number":
        return np.asarray, np.asarray
    return lambda p: np.asarray(logit(np.clip(p, _EDGE, 1 - _EDGE))), lambda odds: np.asarray(expit(odds))


def _planted_replay(replay: Replay, score_n: Floats, read_d: Floats, strength: float, output: int, links: tuple[Link, Link]) -> ReplayOf:
    there, back = links

    def run(shift: Floats, rows: Ints) -> Floats:
        return back(there(replay(shift, rows)[:, output]) + strength * (score_n[rows] + shift @ read_d))[:, None]

    return lambda _: run


def _oracle(
    planted: Setting, replay: Replay, output: int, score_n: Floats, write_d: Floats, rng: Generator, links: tuple[Link, Link]
) -> Callable[[float], float]:
    """The interchange effect of the planted direction itself, as a function of the readout's strength."""
    parts, (there, back) = [], links
    for _, plan in planted.plans:
        chosen = np.sort(rng.permutation(len(plan.recipients))[: _SOLVING_ROWS // len(planted.plans)])
        rows, index = plan.recipients[chosen], plan.index[chosen]
        change = score_n[index] - score_n[rows][:, None, None]
        flat = replay(change.reshape(-1, 1) * write_d, np.repeat(rows, index.shape[1] * index.shape[2]))[:, output]
        parts.append((there(flat).reshape(change.shape), score_n[index], plan.sign[chosen]))

    def effect_of(strength: float) -> float:
        total = 0.0
        for odds, score, sign in parts:
            p = back(odds + strength * score)
            slots = p.shape[2] // 2
            total += float((p[..., :slots].mean(axis=(1, 2)) - p[..., slots:].mean(axis=(1, 2))) @ sign)
        return total / sum(len(sign) for _, _, sign in parts)

    return effect_of


def _solve(effect_of: Callable[[float], float], wanted: float) -> float | None:
    """Strength at which the effect is ``wanted``, by bisection; 0 where the model does as much by itself."""
    low, high = 0.0, 1.0
    if effect_of(low) >= wanted:
        return 0.0
    while effect_of(high) < wanted:
        low, high = high, 2 * high
        if high > _STRONGEST:
            return None
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if effect_of(middle) < wanted else (low, middle)
    return (low + high) / 2
