"""Numbers of people that may be published: so coarse that no two of them tell a small group apart."""

import numpy as np

from proxyaudit.arrays import Floats, Ints
from proxyaudit.data.columns import Column

SMALLEST_CELL = 11  # people; anything smaller is not published, nor derivable by subtraction
STEP = 20
TIMES = 4.0  # the largest contribution of a person, that digits may not be finer than where few people carry a number


def count_people(column: Column, groups: Column) -> Column:
    """Number of different people with each known value of a column; rows of nobody known are one person's each."""
    whose = groups.loc[column.index]
    named = whose.groupby(column).nunique()
    return named + whose.isna().groupby(column).sum()


def public_count(n: int) -> int:
    """Round a number of rows down to twenties.

    Two exact counts, 6 242 rows with a known sex and 6 237 with a known age, give five people away. Rounded ones differ by
    nothing or by at least twenty, whatever is subtracted from what, in one pack or between two.

    >>> [public_count(n) for n in (19, 20, 6237, 6242)]
    [0, 20, 6220, 6240]
    """
    return n // STEP * STEP


def heaviest(squares_k: Floats) -> Ints:
    """The ten people who carry more than half of a sum of squares, one for each person; empty where it takes more of them."""
    total = float(squares_k.sum())
    if not np.isfinite(total) or total <= 0:
        return np.zeros(0, dtype=np.int64)
    few = np.argsort(-squares_k, kind="stable")[: SMALLEST_CELL - 1]
    few = few[squares_k[few] > 0]
    return few if float(squares_k[few].sum()) > total / 2 else np.zeros(0, dtype=np.int64)


def count_words(n: int) -> str:
    """A number of rows in words that do not give a small one away.

    >>> count_words(7), count_words(45)
    ('fewer than 20', 'at least 40')
    """
    return f"at least {public_count(n):,}" if n >= STEP else f"fewer than {STEP}"


def share_words(count: float, total: int) -> str:
    """A share of rows; neither it nor its rest tells a small cell.

    >>> share_words(3, 1000), share_words(400, 1000), share_words(995, 1000)
    ('a few', '40%', 'nearly all')
    """
    return "a few" if count < SMALLEST_CELL else "nearly all" if total - count < SMALLEST_CELL else f"{count / total:.0%}"
