"""Name the types of numpy arrays that signatures use."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]
Mask = Bool  # of pixels
