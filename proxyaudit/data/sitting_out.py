"""People who sit an audit out, so that no two audits differ by one person alone.

Rounding does not hide who left: every number of a run moves a little with a person, and many small moves together tell more than one large
one. So of rows that are handed in for an audit a few people, drawn with the auditor's secret, take no part. The same rows give the same
draw, for other models too; with one person more or fewer it is another one, and what that changes is far more than one person does.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Ints
from proxyaudit.secret import keyed
from proxyaudit.seeding import stream
from proxyaudit.types import NotTested

MOST: Final = 96  # the noise of their absence is then fourteen times what one person does, whatever the number of rows
SHARE: Final = 0.1  # of the people, at most

NOTE: Final = NotTested(
    what="a few of the people whose rows were handed in",
    why=f"at most {MOST}, drawn with the auditor's secret, sit out, so that two audits never differ by one person alone",
)


def stay(hashes_n: NDArray[np.uint64], people_n: Ints) -> NDArray[np.bool_]:
    """Which rows take part, ``(n,)``: by what rows hold (``hashes_n``), so that their order matters for equal rows alone."""
    people, first, ids = np.unique(people_n, return_index=True, return_inverse=True)
    smallest = np.full(len(people), np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(smallest, ids, hashes_n)
    order = np.lexsort((first, smallest))
    # Keyed by all rows together: with one row less nobody else's part says anything of who sat out before.
    drawn = stream(int(keyed("sits out", np.sort(hashes_n).tobytes())[:15], 16), "sitting out").permutation(len(people))
    return np.asarray(~np.isin(ids, order[drawn[: min(MOST, int(SHARE * len(people)))]]))
