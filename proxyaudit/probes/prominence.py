"""Prominence: the share of the variance of activations that an attribute explains, corrected so that chance gives zero.

Two means of one table of shares, one share for each unit: of all units alike (standardised activations), and weighted by their variance,
which is the share of the total variance and does not change when activations are rotated (Hermann & Lampinen 2020, arXiv 2006.12433;
Lampinen et al. 2024, arXiv 2405.05847). Of classes the share is the sum of squares between groups, of a number R squared.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from proxyaudit.arrays import Floats, Ints

_ROUNDING = 4.0  # steps of the stored precision below which a unit does not vary
_FEWEST_CLUSTERS = 10  # independent groups of rows without which what chance gives cannot be told


@dataclass(frozen=True)
class Share:
    """A share of variance and the influence of each row on it."""

    value: float
    influence_n: Floats


@dataclass(frozen=True)
class Prominence:
    """Both shares of one attribute: the mean over units, and that of the total variance."""

    units: Share
    total: Share


class Units:
    """The units of a site that vary, standardised; rows of one cluster belong together."""

    def __init__(self, acts_nd: NDArray[np.generic], clusters_n: Ints) -> None:
        acts = np.asarray(acts_nd, dtype=np.float64)
        centred, largest = acts - acts[0], np.abs(acts).max(axis=0, initial=1e-300)  # what is constant stays so exactly
        centred -= centred.mean(axis=0)
        sd = np.sqrt(((centred / largest) ** 2).mean(axis=0)) * largest  # squares of huge or tiny numbers are no numbers
        kind: Any = acts_nd.dtype if np.issubdtype(acts_nd.dtype, np.floating) else np.float64
        moving = sd > _ROUNDING * float(np.finfo(kind).eps) * largest
        self.z_nd: Floats = centred[:, moving] / sd[moving]
        size = (sd[moving] / sd[moving].max(initial=1e-300)) ** 2
        self.weight_2d: Floats = np.stack([np.full(len(size), 1 / max(len(size), 1)), size / max(size.sum(), 1e-300)])
        self.clusters_n = np.unique(clusters_n, return_inverse=True)[1].astype(np.int64)
        self.clusters = int(self.clusters_n.max(initial=-1)) + 1

    def measure(self, values_n: NDArray[np.generic], classes: int) -> Prominence | None:
        """Prominence of codes from 0 (``classes`` of them) or of a number (``classes`` 0); ``None`` where there is too little to tell."""
        label = self._label(values_n, classes)
        if label is None:
            return None
        share_d, fitted_nd = label.explained(self.z_nd)
        adjusted_d = self._adjusted(label, share_d)
        # Influence on what is explained minus that on all variance; that of the small correction is left out.
        explained_nd, square_nd = 2 * self.z_nd * fitted_nd - fitted_nd**2, self.z_nd**2
        of_share_2d = (share_d, np.full_like(share_d, self.weight_2d[1] @ share_d))
        parts = [explained_nd @ weight_d - square_nd @ (weight_d * of) for weight_d, of in zip(self.weight_2d, of_share_2d, strict=True)]
        units, total = (
            Share(float(w @ adjusted_d), (part - part.mean()) / len(part)) for w, part in zip(self.weight_2d, parts, strict=True)
        )
        return Prominence(units, total)

    def values(self, columns_nm: NDArray[np.generic], classes: int) -> Floats:
        """The mean over units alone, of many columns ``(m,)``; NaN where there is too little to tell."""
        found = np.full(columns_nm.shape[1], np.nan)
        for place, column in enumerate(columns_nm.T):
            label = self._label(column, classes)
            if label is not None:
                found[place] = self.weight_2d[0] @ self._adjusted(label, label.share(self.z_nd))
        return found

    def _label(self, values_n: NDArray[np.generic], classes: int) -> "_Label | None":
        label = _Number.of(values_n) if classes == 0 else _Classes.of(values_n)
        enough = label is not None and self.z_nd.shape[1] > 0 and self.clusters >= max(_FEWEST_CLUSTERS, 2 * label.df + 2)
        return label if enough else None

    def _adjusted(self, label: "_Label", share_d: Floats) -> Floats:
        """Shares minus what chance gives: of independent rows as in adjusted R squared, of clusters that times their design effect."""
        n = len(self.z_nd)
        chance_d = label.df * (1 - share_d) / (n - 1 - label.df)
        if self.clusters < n:
            chance_d = chance_d * self._design_effect(label)
        return np.asarray(share_d - chance_d)

    def _design_effect(self, label: "_Label") -> Floats:
        """How much more than of independent rows the contrasts of a label vary by chance, for each unit (Kish 1965)."""
        n, residual_nd = len(self.z_nd), self.z_nd - label.explained(self.z_nd)[1]
        gather = sparse.csr_matrix((np.ones(n), (self.clusters_n, np.arange(n))), shape=(self.clusters, n))
        alone, together = np.zeros((2, residual_nd.shape[1]))
        for weight_n, times in label.contrasts():
            weighted_nd = weight_n[:, None] * residual_nd
            alone += times * (weighted_nd**2).sum(axis=0)
            together += times * (np.asarray(gather @ weighted_nd) ** 2).sum(axis=0)
        fitted = (self.clusters / (self.clusters - 1 - label.df)) * ((n - 1 - label.df) / n)  # residuals are smaller than errors
        return np.asarray(np.where(alone > 0, together * fitted / np.where(alone > 0, alone, 1.0), 1.0))


@dataclass(frozen=True)
class _Classes:
    """Groups of rows, numbered from 0, none empty."""

    codes_n: Ints
    counts_k: Ints

    @classmethod
    def of(cls, values_n: NDArray[np.generic]) -> "_Classes | None":
        codes = np.unique(values_n, return_inverse=True)[1].astype(np.int64)
        counts = np.bincount(codes)
        return cls(codes, counts) if 2 <= len(counts) <= len(codes) // 2 else None

    @property
    def df(self) -> int:
        return len(self.counts_k) - 1

    def share(self, z_nd: Floats) -> Floats:
        return np.asarray((self.counts_k[:, None] * self._means(z_nd) ** 2).sum(axis=0) / len(z_nd))

    def explained(self, z_nd: Floats) -> tuple[Floats, Floats]:
        """Share of each unit's variance, and each row's group mean."""
        return self.share(z_nd), self._means(z_nd)[self.codes_n]

    def contrasts(self) -> list[tuple[Floats, float]]:
        """Weights of the rows in each group's mean minus that of all, and how often its square counts."""
        n = len(self.codes_n)
        return [((self.codes_n == k) / count - 1 / n, float(count)) for k, count in enumerate(self.counts_k)]

    def _means(self, z_nd: Floats) -> Floats:
        member_kn = (np.arange(len(self.counts_k))[:, None] == self.codes_n).astype(np.float64)
        return np.asarray(member_kn @ z_nd / self.counts_k[:, None])


@dataclass(frozen=True)
class _Number:
    """A standardised number of each row."""

    a_n: Floats
    df: int = 1

    @classmethod
    def of(cls, values_n: NDArray[np.generic]) -> "_Number | None":
        values = np.asarray(values_n, dtype=np.float64)
        centred = values - values.mean()
        spread = float(np.sqrt((centred**2).mean()))
        return cls(centred / spread) if spread > 0 else None

    def share(self, z_nd: Floats) -> Floats:
        return np.asarray((self.a_n @ z_nd / len(z_nd)) ** 2)

    def explained(self, z_nd: Floats) -> tuple[Floats, Floats]:
        """Share of each unit's variance, and what a line through it predicts for each row."""
        r_d = self.a_n @ z_nd / len(z_nd)
        return np.asarray(r_d**2), np.asarray(np.outer(self.a_n, r_d))

    def contrasts(self) -> list[tuple[Floats, float]]:
        return [(self.a_n / len(self.a_n), 1.0)]


_Label = _Classes | _Number
