"""What is told of a number that neither its value nor its quarters show: single values, narrow ranges, what it leaves when divided.

A bank of yes-or-no questions about the number (is it this frequent value, in this sixteenth, even, a multiple of ten), freed of value and
quarters, is scored at once; labels are permuted, or signs of whole clusters turned, for the null. What is found is put as one question,
chosen on half of the rows, whose leak is then tested on the other half.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from proxyaudit.arrays import Bools, Floats, Ints, Singles
from proxyaudit.probes.results import LevelTrace
from proxyaudit.probes.score import ScoreStatistic, flipped, standardise

_VALUES, _FEWEST = 64, 10  # frequent values that are asked one by one, and rows of a question on either side
_RANGES = 16
_MODULI = (2, 7, 10)
_ROUND = (100, 1000)
_DECIMALS = (1, 10, 100)
_OWN = 0.2  # share of a question's variance that value and quarters must leave
_PERMUTATIONS = 99
_FIRST = 4  # of these; the others where a score is this many standard scores or more
_HINT = 4.0
_WORK = 4e11  # operations of all of them; where it takes more nothing is asked
_CUTS = 32


@dataclass(frozen=True)
class Bank:
    """Questions about a number as columns ``(n, m)``, standardised and freed of value and quarters, in families that are summed."""

    columns_nm: Singles
    families: tuple[slice, ...]


def question_bank(values_n: Floats) -> Bank:
    """All questions that enough rows answer either way, and that value and quarters leave open."""
    groups = [_frequent(values_n), _ranges(values_n), _remainders(values_n)]
    base = _known_already(values_n)
    columns, families, start = [], [], 0
    for group in groups:
        kept = [column for column in group if _FEWEST <= column.sum() <= len(column) - _FEWEST]
        if not kept:
            continue
        asked = np.stack(kept, axis=1).astype(np.float64)
        asked -= asked.mean(axis=0)
        left = asked - base @ (base.T @ asked)
        left = left[:, (left**2).sum(axis=0) > _OWN * (asked**2).sum(axis=0)]
        if left.shape[1]:
            columns.append(left / left.std(axis=0))
            families.append(slice(start, start + left.shape[1]))
            start += left.shape[1]
    return Bank(np.concatenate(columns or [np.zeros((len(values_n), 0))], axis=1).astype(np.float32), tuple(families))


def _known_already(values_n: Floats) -> Floats:
    """An orthonormal basis of what is asked elsewhere: the value, its rank and its quarters."""
    quarters = np.searchsorted(np.unique(np.quantile(values_n, (0.25, 0.5, 0.75))), values_n)
    columns = np.column_stack([np.ones(len(values_n)), values_n, stats.rankdata(values_n), quarters[:, None] == np.arange(4)])
    columns = columns / np.maximum(np.abs(columns).max(axis=0), 1e-300)
    left, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(left[:, sizes > 1e-9 * sizes[0]])


def _frequent(values_n: Floats) -> list[Bools]:
    values, codes, counts = np.unique(values_n, return_inverse=True, return_counts=True)
    common = np.argsort(-counts, kind="stable")[:_VALUES]
    return [codes == k for k in common if counts[k] >= _FEWEST and len(values) > 1]


def _ranges(values_n: Floats) -> list[Bools]:
    edges = np.unique(np.quantile(values_n, np.arange(1, _RANGES) / _RANGES))
    codes = np.searchsorted(edges, values_n)
    return [codes == k for k in range(len(edges) + 1)]


def _remainders(values_n: Floats) -> list[Bools]:
    """Of whole numbers, or of decimals in their last place: even, by weekday, last digit, round; of others whether they are whole."""
    for scale in _DECIMALS:
        whole = np.round(values_n * scale)
        if np.abs(whole).max() < 2**53 and np.allclose(whole, values_n * scale, rtol=0, atol=1e-6):
            found = [whole % modulus == k for modulus in _MODULI for k in range(1 if modulus == 2 else 0, modulus)]
            return [*found, *(whole % size == 0 for size in _ROUND)]
    return [values_n == np.round(values_n)]


def level_trace(statistic: ScoreStatistic, bank: Bank, clusters_n: Ints | None, rng: np.random.Generator) -> LevelTrace | None:
    """Whether the questions tell more than chance, together or one of them; ``None`` where there are none or they cost too much.

    A few permutations tell how a single score scatters, and the questions' correlations how sums do. The others follow on a hint.
    """
    n, m = bank.columns_nm.shape
    rank = statistic.factors.rank
    cost = rank if statistic.channel == "linear" else rank * (rank + 1) / 2 if statistic.is_quick else n
    each = 2.0 * n * m * cost
    if not m or each > _WORK / _PERMUTATIONS:
        return None
    prepared = statistic.prepare(bank.columns_nm)
    scores = np.concatenate([statistic.of_prepared(prepared).scores_m[None], _by_chance(statistic, bank, clusters_n, _FIRST, rng)])
    together = (prepared.T @ prepared / np.float32(n)).astype(np.float64) ** 2
    spread = float(scores[1:].std())
    sums = [float(scores[0, family].sum() / np.sqrt(together[family, family].sum())) for family in bank.families]
    hint = max(*sums, float(scores[0].max())) / max(spread, 1e-12)
    if hint <= _HINT:
        return LevelTrace(hint, 0.0, 0.0)
    scores = np.concatenate([scores, _by_chance(statistic, bank, clusters_n, _PERMUTATIONS - _FIRST, rng)])
    return _against_chance(scores, bank.families, n)


def _by_chance(statistic: ScoreStatistic, bank: Bank, clusters_n: Ints | None, count: int, rng: np.random.Generator) -> Floats:
    """Scores ``(count, m)`` with rows in another order, or with the signs of whole clusters turned."""
    scores = np.empty((count, bank.columns_nm.shape[1]))
    for one, n in enumerate([len(bank.columns_nm)] * count):
        turned = bank.columns_nm[rng.permutation(n)] if clusters_n is None else flipped(clusters_n, n, 1, rng) * bank.columns_nm
        scores[one] = statistic.of_prepared(statistic.prepare(turned)).scores_m
    return scores


def _against_chance(scores: Floats, families: tuple[slice, ...], n: int) -> LevelTrace:
    """The first row of scores against the others: sums of families, and the largest single one."""
    single = scores / np.maximum(scores[1:].std(axis=0), 1e-12)
    sums = [scores[:, family].sum(axis=1) for family in families]
    shares = [*(float(one[0] - one[1:].mean()) / n for one in sums), float(scores[0, single[0].argmax()]) / n]
    told = np.stack([*sums, single.max(axis=1)], axis=1)
    z = (told - told[1:].mean(axis=0)) / np.maximum(told[1:].std(axis=0), 1e-12)
    best = int(z[0].argmax())
    return LevelTrace(float(z[0, best]), float(z[1:].max()), shares[best])


def telling_question(statistic: ScoreStatistic, bank: Bank, rows: Ints) -> Ints | None:
    """Yes (1) or no (0) of each row ``(n,)`` to the question that these rows answer best; ``None`` where none has enough rows either way.

    ``statistic`` is of those rows alone.
    """
    e = statistic.prepare(bank.columns_nm[rows])
    form = e.T @ statistic.directions(e)
    weights = np.linalg.eigh((form + form.T) / 2)[1][:, -1]
    # Round off, so that rows of one value stay together.
    answer = np.round((bank.columns_nm @ weights.astype(np.float32)).astype(np.float64), 4)
    own = answer[rows]
    direction = statistic.directions(standardise(statistic.rows, own.astype(np.float32)[:, None]))[:, 0]
    best, cut = 0.0, None
    for edge in np.unique(np.quantile(own, np.arange(_CUTS) / _CUTS, method="lower")):
        yes = own > edge
        share = float(yes.mean())
        if min(yes.sum(), (~yes).sum()) < 2 * _FEWEST:
            continue
        told = (float(direction[yes].mean()) - float(direction.mean())) ** 2 * share / (1 - share)
        if told > best:
            best, cut = told, float(edge)
    return None if cut is None else (answer > cut).astype(np.int64)
