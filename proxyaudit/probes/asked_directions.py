"""The directions that a test of one attribute at one site asks its leaks along: of all families, and the one that labels follow."""

from dataclasses import dataclass

import numpy as np

from proxyaudit.arrays import Ints, Singles
from proxyaudit.probes.planting import Planter, Streams, Target, own_direction
from proxyaudit.probes.ruled_out import followed
from proxyaudit.stats.directions import candidates, distinct

_PAIR_SHARE = 0.5  # of the directions that are asked where a column of labels costs as much as rows have pairs
_MOST_APART, _PATTERNS, _TOGETHER = 4, 2, 8  # of several classes
_FEW, _FEW_COLUMNS = 0.2, 0.8  # share of the directions that several classes are asked along, for how many there are


@dataclass(frozen=True)
class Directions:
    """Scores of directions, the last axis being theirs, and the family of each."""

    scores: Singles
    names: tuple[str, ...]

    def __getitem__(self, which: Ints) -> Singles:
        return self.scores[..., which]


def asked_directions(planter: Planter, prepared: list[Singles], streams: Streams, *, many: bool = True) -> Directions:
    """The directions of one test, an even one first and the attribute's own last; only these two where not ``many`` are wanted.

    Without any where no direction beyond what is linear exists. Equal purposes of ``streams`` give equal directions.
    """
    rng = streams("directions")
    classes = planter.target.classes
    several = classes > 2
    share = 1.0 if planter.statistic.is_quick else _PAIR_SHARE
    found, names = candidates(planter.rows, planter.channel, rng, min(_FEW, _FEW_COLUMNS / classes) if several else share)
    if not found.shape[-1]:
        return Directions(found, ())
    near, families = followed(planter.statistic, prepared, planter.target)
    found, names = np.concatenate([found, near[:, near.any(axis=0)]], axis=1), (*names, *np.array(families)[near.any(axis=0)])
    single = distinct(found)
    found, names = found[:, single], tuple(names[index] for index in single)
    own = own_direction(planter.statistic, prepared, planter.target, streams("halves"))
    if several:
        found, names = _patterned(found, names, planter.target, rng)
    elif classes == 2 and not _is_even(planter.target):
        found, names = np.concatenate([found, -found], axis=-1), names * 2
    else:
        # Both ways along a direction have one law: the way that labels go stands for it, or they would rule out the other.
        found = found * np.where(prepared[0][:, 0] @ found < 0, np.float32(-1), np.float32(1))
    if not many:
        found, names = found[..., :1], names[:1]
    own = found[..., 0] if own is None else own
    return Directions(np.concatenate([found, own[..., None]], axis=-1), (*names, "own"))


def _is_even(target: Target) -> bool:
    """Whether both classes are alike, so that a direction and its opposite are."""
    return target.prior is not None and target.prior.strata_n is None and abs(float(target.prior.rates_k[0]) - 0.5) < 0.02


def _patterned(found_nm: Singles, names: tuple[str, ...], target: Target, rng: np.random.Generator) -> tuple[Singles, tuple[str, ...]]:
    """Scores ``(n, K, m)`` of several classes along directions: all classes apart, one apart from all others, or some against some.

    Least favourable to first order are patterns whose mean over rows is that over classes; a pattern of that kind is among them.
    """
    classes = target.classes
    assert target.prior is not None
    apart = [np.eye(classes)[k] for k in np.argsort(target.prior.rates_k, kind="stable")[:_MOST_APART]]
    fixed = np.linalg.qr(np.stack([np.ones(classes), target.prior.rates_k + 1e-9 * np.arange(classes)], axis=1))[0]
    balanced = [(np.eye(classes) - fixed @ fixed.T) @ rng.standard_normal(classes) for _ in range(2)]
    patterns = [pattern / np.sqrt((pattern**2).mean()) for pattern in (*apart, *balanced)]
    even = np.flatnonzero(np.array(names) == "isotropic")
    count = min(len(even), classes - 1)
    together = np.zeros((len(found_nm), classes, _TOGETHER), dtype=np.float32)
    for index in range(_TOGETHER):
        together[:, rng.permutation(classes)[:count], index] = found_nm[:, rng.permutation(even)[:count]]
    scores, kinds = [together], ["isotropic"] * _TOGETHER
    for index, name in enumerate(names):
        chosen = range(len(patterns)) if index in even[:2] else rng.permutation(len(patterns))[:_PATTERNS]
        for which in chosen:
            one = found_nm[:, index : index + 1] * patterns[which].astype(np.float32)
            scores.append(np.stack([one, -one], axis=-1))
            kinds += [name] * 2
    return np.concatenate(scores, axis=-1), tuple(kinds)
