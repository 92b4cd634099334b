"""Quantiles and tails of the normal law and of Student's t, without scipy.stats: most commands need no more of it, and it loads slowly."""

from typing import Any

from proxyaudit.later import Later

special = Later("scipy.special")  # slow to load, and needless for commands that read evidence


def normal_quantile(p: float) -> float:
    """The value below which a normal variable lies with probability ``p``.

    >>> round(normal_quantile(0.975), 4)
    1.96
    """
    return float(special.ndtri(p))


def normal_tail(value: float) -> float:
    """The probability that a normal variable exceeds a value.

    >>> round(normal_tail(1.96), 3)
    0.025
    """
    return float(special.ndtr(-value))


def t_quantile(p: float, df: Any) -> Any:
    """The value below which Student's t lies with probability ``p``; ``df`` is a number or an array, infinite for the normal law.

    >>> round(float(t_quantile(0.975, 10)), 4)
    2.2281
    """
    return special.stdtrit(df, p)


def t_tail(value: float, df: float) -> float:
    """The probability that Student's t exceeds a value.

    >>> round(t_tail(2.2281, 10), 4)
    0.025
    """
    return float(special.stdtr(df, -value))
