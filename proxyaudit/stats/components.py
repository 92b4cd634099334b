"""How much repetitions differ: models of one kind, or models of several synthetic tables, each trained on each of them.

Of tables crossed with models three things vary: what a table brings, what a model's initial weights and order of batches bring, and the
rest. Their mean squares (method of moments) give the variance of the mean, ``(tables + models - residual) / (T M)``, and of one more model
on one more table. Satterthwaite's degrees of freedom of a difference of mean squares can fall below those of either; they are never taken
as fewer, since the sum is never taken as less than one of its terms.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Self

import numpy as np

from proxyaudit.arrays import Floats, Places
from proxyaudit.later import Later

special = Later("scipy.special")  # slow to load, and needless for commands that read evidence

Part = tuple[float, float]
"""A variance, or a mean square, and its degrees of freedom."""

REPETITIONS, TABLES, MODELS, RESIDUAL = "repetitions", "tables", "models", "residual"
UNLIKE: Final = 0.01  # level at which a number varies more than the others
ALIKE: Final = 0.5  # p-value from which on nothing speaks for that
ENOUGH: Final = 2.0  # degrees of freedom; two repetitions would not show that a number is unlike the others
NOTHING: Final[Part] = (0.0, 0.0)


@dataclass(frozen=True)
class Spread:
    """Mean squares of one number over repetitions, by source: ``REPETITIONS`` alone, or the three of a crossed number."""

    squares: Mapping[str, Part]
    tables: int
    models: int  # 1 where repetitions stand for themselves

    @classmethod
    def of(cls, values_s: Floats, places: Places = ()) -> Self | None:
        """From the number in each repetition ``(S,)``; ``None`` where fewer than two differ: equal repetitions are one."""
        return cls._of(tuple(values_s.tolist()), places)

    @classmethod
    @lru_cache(maxsize=256)  # a number is asked several times in a row
    def _of(cls, values: tuple[float, ...], places: Places) -> Self | None:
        values_s = np.array(values, dtype=np.float64)
        if len({table for table, _ in places}) < 2:
            return cls._alone(np.unique(values_s))
        rows, columns = (np.unique([place[axis] for place in places], return_inverse=True)[1] for axis in (0, 1))
        shape = int(rows.max()) + 1, int(columns.max()) + 1
        if shape == (len(values_s), len(values_s)):
            return cls._alone(np.unique(values_s))  # each has a table and a model of its own
        if len(values_s) < shape[0] * shape[1]:
            return cls._with_gaps(values_s, rows, columns)
        y_tm = np.empty(shape)
        y_tm[rows, columns] = values_s
        return cls._crossed(np.unique(np.unique(y_tm, axis=0), axis=1))  # a synthesizer may make one table twice

    @classmethod
    def _alone(cls, distinct: Floats) -> Self | None:
        count = len(distinct)
        return cls({REPETITIONS: (float(distinct.var(ddof=1)), count - 1.0)}, count, 1) if count > 1 else None

    @classmethod
    def _crossed(cls, y_tm: Floats) -> Self | None:
        tables, models = y_tm.shape
        if min(tables, models) < 2:
            return cls._alone(np.unique(y_tm))
        by_table, by_model, mean = y_tm.mean(axis=1), y_tm.mean(axis=0), y_tm.mean()
        rest = y_tm - by_table[:, None] - by_model + mean
        df = (tables - 1) * (models - 1)
        squares = {
            TABLES: (models * float(by_table.var(ddof=1)), tables - 1.0),
            MODELS: (tables * float(by_model.var(ddof=1)), models - 1.0),
            RESIDUAL: (float((rest**2).sum()) / df, float(df)),
        }
        return cls(squares, tables, models)

    @classmethod
    def _with_gaps(cls, values_s: Floats, rows: np.ndarray, columns: np.ndarray) -> Self | None:
        """Some repetitions failed: the means of tables and of models, and nothing is subtracted, which makes intervals wider."""
        by_table, by_model = (np.bincount(index, weights=values_s) / np.bincount(index) for index in (rows, columns))
        tables, models = len(by_table), len(by_model)
        if models < 2:
            return cls._alone(np.unique(values_s))
        found = {
            TABLES: (models * float(by_table.var(ddof=1)), tables - 1.0),
            MODELS: (tables * float(by_model.var(ddof=1)), models - 1.0),
            RESIDUAL: (0.0, 1.0),
        }
        return cls(found, tables, models)

    def of_mean(self, prior: Mapping[str, Part]) -> Part:
        """Variance of the mean over repetitions. ``prior``: by source what other numbers tell of a mean square."""
        cells = self.tables * self.models
        if REPETITIONS in self.squares:
            size, df = self._repetitions(prior)
            return size / cells, df
        return self._sum({TABLES: 1 / cells, MODELS: 1 / cells, RESIDUAL: -1 / cells}, prior)

    def of_next(self, prior: Mapping[str, Part]) -> Part:
        """Variance of one more repetition (where tables are made, on one more table) about the mean over these."""
        t, m = 1 / self.tables, 1 / self.models
        if REPETITIONS in self.squares:
            size, df = self._repetitions(prior)
            return size * (1 + t), df
        return self._sum({TABLES: m + t * m, MODELS: t + t * m, RESIDUAL: max(1 - t - m - t * m, 0.0)}, prior)

    def alone(self) -> list[Part]:
        """Independent parts whose sum is at least the variance of the mean, as its own repetitions tell them."""
        cells = self.tables * self.models
        return [(size / cells, df) for source, (size, df) in self.squares.items() if source != RESIDUAL]

    # Never below what the number itself says: where it is unlike the others, they do not speak for it.

    def _repetitions(self, prior: Mapping[str, Part]) -> Part:
        own = self.squares[REPETITIONS]
        if own[1] < ENOUGH:
            return own
        size, df = _drawn(own, prior.get(REPETITIONS, NOTHING), ALIKE)
        return max(own[0], size), df

    def _sum(self, weights: Mapping[str, float], prior: Mapping[str, Part]) -> Part:
        """The weighted sum of a crossed number's mean squares."""
        own = sum(weights[name] * size for name, (size, _) in self.squares.items())
        drawn = {name: _drawn(square, prior.get(name, NOTHING)) for name, square in self.squares.items()}
        terms = {name: (weights[name] * size, df) for name, (size, df) in drawn.items()}
        main = [terms[name] for name in (TABLES, MODELS)]
        # Without other numbers the larger of two mean squares of few degrees of freedom is all that is sure of their sum.
        largest, alone = max(size for size, _ in main), not all(name in prior for name in (TABLES, MODELS))
        total = max(own, sum(size for size, _ in terms.values()), largest if alone else min(abs(terms[RESIDUAL][0]), largest))
        below, fewest = sum(size**2 / df for size, df in terms.values()), min(df for _, df in main)
        return total, max(fewest, total**2 / below) if below > 0 else fewest


def _drawn(own: Part, prior: Part, alike: float = UNLIKE) -> Part:
    """A mean square drawn towards what other numbers tell of it, each with its degrees of freedom.

    Where it is surely larger than theirs (F test), its number is unlike them and they do not speak for it: their degrees of freedom would
    make the interval of a number that varies more than all others too narrow (Phipson et al. 2016). Up to the p-value ``alike`` they speak
    for it the less, the more speaks for that.
    """
    (size, df), (shared, more) = own, prior
    if more > 0 and shared < size:
        p = float(special.fdtrc(df, more, size / max(shared, 1e-300)))
        more *= float(p >= UNLIKE) * (min((p - UNLIKE) / (alike - UNLIKE), 1.0) if alike > UNLIKE else 1.0)
    return ((more * shared + df * size) / (more + df), more + df) if more > 0 else own
