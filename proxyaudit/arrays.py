"""Names of array types, by what they hold; a suffix of a variable tells the axes (``acts_nd``, ``labels_n``)."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

Places = tuple[tuple[int, int], ...]
"""Table and model of each repetition; empty where every repetition stands for itself."""
