"""Which parts of a language model carry the difference between groups of names: exchanged at the name and at the last token.

A prompt is given the part's mean value of the other group's names in the same sentence, and that of the other names of its own group; the
difference of the followed shares, oriented from the low to the high group, is tau. Parts are screened by gradient times difference
(Nanda 2023; Syed et al. 2023, arXiv 2310.10348).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from proxyaudit.arrays import Floats, Ints
from proxyaudit.estimates.record import Shelf
from proxyaudit.language.causal_model import CausalModel, Placed
from proxyaudit.language.parts import CausalPart, exchange, find_parts, read_parts
from proxyaudit.seeding import stream
from proxyaudit.stats.group_gaps import crossed_gap
from proxyaudit.stats.intervals import Measured

TRIED = {"head": (8, 4), "attention": (4, 0), "mlp": (4, 2)}  # by the gradient, and at random as controls
_FEWEST = 3  # names of each group


@dataclass(frozen=True)
class PartResult:
    """Effect of exchanging one part, oriented from group ``low`` to ``high``; its rows are names."""

    low: int
    high: int
    layer: int
    kind: str
    subject: str
    measured: Measured
    predicted: float
    random: bool
    prompts: int


@dataclass(frozen=True)
class PartsRecord:
    """Everything that was exchanged; of how many parts."""

    results: tuple[PartResult, ...] = ()
    parts: int = 0


PARTS = Shelf("parts", PartsRecord)


def measure_parts(
    model: CausalModel, placed: list[Placed], contexts: int, groups_n: Ints, pairs: Sequence[tuple[int, int]], seed: int
) -> PartsRecord:
    """Exchange the most promising parts between each pair of groups; prompts are a grid (templates, contexts, names)."""
    parts = find_parts(model)
    results: list[PartResult] = []
    last = CausalPart(len(model.blocks) - 1, "residual")
    tried = [*(part for part in parts if part.kind != "residual"), last]
    for low, high in pairs:
        used = np.flatnonzero((groups_n == low) | (groups_n == high))
        if min(int((groups_n == group).sum()) for group in (low, high)) < _FEWEST:
            continue
        at = np.arange(len(placed)).reshape(-1, contexts, len(groups_n))[:, :, used]
        recipients = [placed[row] for row in at.ravel().tolist()]
        moves = []
        for values, gradients in read_parts(model, recipients, tried):
            acts = values.reshape(*at.shape, 2, -1)
            other, own = _means(acts, groups_n[used])
            sign = np.where(groups_n[used] == low, 1.0, -1.0)
            predicted = sign * (gradients.reshape(acts.shape) * (other - own)).sum(axis=(-1, -2))
            moves.append((other, own, float(predicted.mean())))
        for number, by in _picked(tried, [one[2] for one in moves], seed, (low, high)):
            other, own, predicted_mean = moves[number]
            shares = [exchange(model, recipients, tried[number], one.reshape(at.size, 2, -1)).reshape(at.shape) for one in (other, own)]
            tau = np.where(groups_n[used] == low, 1.0, -1.0) * (shares[0] - shares[1])
            part, size = tried[number], at.size
            measured = _measured(tau, groups_n, low, high, used)
            results.append(PartResult(low, high, part.layer, part.kind, _subject(part), measured, predicted_mean, by == "random", size))
    return PartsRecord(tuple(results), len(tried) - 1)


def _subject(part: CausalPart) -> str:
    if part.units is not None:
        return f"head {part.units[0] // (part.units[1] - part.units[0])}"
    return {"attention": "attention output", "mlp": "MLP output"}.get(part.kind, "whole model")


def _picked(parts: Sequence[CausalPart], predicted: Sequence[float], seed: int, pair: tuple[int, int]) -> list[tuple[int, str]]:
    """Numbers of the parts that are exchanged, the whole stream first, each with why."""
    rng = stream(seed, "parts", *pair)
    found = [(len(parts) - 1, "whole")]
    for kind, (best, random) in TRIED.items():
        mine = [number for number, part in enumerate(parts) if part.kind == kind]
        order = sorted(mine, key=lambda number: (-abs(float(f"{predicted[number]:.6g}")), number))
        found += [(number, "gradient") for number in order[:best]]
        found += [(int(number), "random") for number in rng.permutation(np.array(order[best:], dtype=np.int64))[:random]]
    return found


def _means(acts: Floats, groups_n: Ints) -> tuple[Floats, Floats]:
    """Mean value of the other group's names, and of the own group's other names, in the same sentence: ``(t, c, n, 2, d)`` each."""
    other, own = np.empty_like(acts), np.empty_like(acts)
    for group in np.unique(groups_n):
        inside, outside = np.flatnonzero(groups_n == group), np.flatnonzero(groups_n != group)
        other[:, :, inside] = acts[:, :, outside].mean(axis=2, keepdims=True)
        total = acts[:, :, inside].sum(axis=2, keepdims=True)
        own[:, :, inside] = (total - acts[:, :, inside]) / (len(inside) - 1)
    return other, own


def _measured(tau_tcn: Floats, groups_n: Ints, low: int, high: int, used: Ints) -> Measured:
    """Mean effect with the scatter of names and templates."""
    y_tn = tau_tcn.mean(axis=1)
    value = float(np.mean([y_tn[:, groups_n[used] == group].mean() for group in (low, high)]))
    # Each group's mean is half the effect: the difference between one group and the mirrored other has the same error.
    mirrored = np.where(groups_n[used] == high, y_tn, -y_tn) / 2
    spread = crossed_gap(mirrored, groups_n[used], low, high)
    influence = np.zeros(len(groups_n))
    influence[used] = spread.influence_n
    return Measured(np.array([value]), influence, np.arange(len(groups_n)), spread.extra, spread.extra_df, spread.row_df)
