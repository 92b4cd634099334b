"""Where few rows share a person with others, one row of each person is asked, drawn at random.

Rows that belong together are told from chance by turning the signs of whole clusters, which is far blunter than drawing labels anew. A few
copies in thousands of rows would blunt the tests of all of them.
"""

from dataclasses import replace
from typing import Final

import numpy as np

from proxyaudit.arrays import Ints
from proxyaudit.data.attributes import Attribute
from proxyaudit.seeding import stream

_MOST_LOST: Final = 0.05  # share of the rows on which an attribute is known, and of those of each of its levels


def one_row_each(attribute: Attribute, clusters_n: Ints, root: int) -> Attribute:
    """The attribute as unknown on all but one row of each cluster ``(n,)``; as it is where that would cost too many rows.

    The row that is kept hangs on the root seed alone, so that it is the same at every site and in every model.
    """
    rows = stream(root, "one row each").permutation(len(clusters_n))
    rows = rows[attribute.known[rows]]
    kept = rows[np.unique(clusters_n[rows], return_index=True)[1]]
    if len(kept) == len(rows) or len(kept) < (1 - _MOST_LOST) * len(rows):
        return attribute
    codes = np.asarray(attribute.codes)
    if attribute.classes:
        before, after = (np.bincount(codes[some], minlength=attribute.classes) for some in (rows, kept))
        if (after < np.floor((1 - _MOST_LOST) * before)).any():
            return attribute
    alone = np.full_like(codes, -1 if attribute.classes else np.nan)
    alone[kept] = codes[kept]
    return replace(attribute, codes=alone)
