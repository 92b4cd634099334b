"""Numbers in single precision that lie on the same side of a given model's splits as the numbers of the table.

The audit hands rows over in single precision. Libraries that read double precision (LightGBM, histogram boosting of scikit-learn) split
between numbers that are closer: 40.9 goes left at 40.900000000000006, and as a float32 it is 40.9000015, which goes right.
"""

import numpy as np

from proxyaudit.arrays import Floats, Singles
from proxyaudit.errors import InputError


def in_single(values: Floats, splits: tuple[float, ...], name: str) -> Singles:
    """Values ``(n,)`` of column ``name`` as float32, moved to the neighbour where rounding would cross one of the sorted ``splits``.

    A value goes left at a split that it does not exceed. Raises ``InputError``: two splits lie so close that no float32 is between them.
    """
    with np.errstate(over="ignore"):
        found = values.astype(np.float32)
    if not splits:
        return found
    at = np.asarray(splits)
    wanted = np.searchsorted(at, values)
    for _ in range(2):
        passed = np.searchsorted(at, found.astype(np.float64)) - wanted
        passed[~np.isfinite(values)] = 0
        if not passed.any():
            return found
        found = np.where(passed == 0, found, np.nextafter(found, np.where(passed > 0, -np.inf, np.inf).astype(np.float32)))
    what = f"the given model splits column '{name}' between numbers that single precision, in which this audit hands rows over, makes one"
    raise InputError(what, mend="train it on smaller numbers (days since a date, not seconds since 1970), and hand those over")
