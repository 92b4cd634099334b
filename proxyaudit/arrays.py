"""Names of array types, by what they hold; a suffix of a variable tells the axes (``acts_nd``, ``labels_n``)."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
