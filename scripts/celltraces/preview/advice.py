"""Say which parameter of `logstd` does not fit the size of the cells, as a network sees them in a preview."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from celltraces.labels.regions import typical_diameter
from celltraces.preview.sets import METHOD, Set

SEES = "deepsea"  # finds the size of cells by itself
ROOM = 2  # cells: where max_object_size is less than their area, single large cells are divided or left out
WANTED = 3  # cells, of whose area it then should be


def on_size_limit(present: Set, labels: Iterable[np.ndarray]) -> str | None:
    """One line with what to write, where the present set is `logstd` and its `max_object_size` is too low; else None.

    labels: (H, W) each, what `deepsea` found in the frames of the preview.
    """
    if present[METHOD] != "logstd":
        return None
    width = typical_diameter(*labels)
    area = math.pi / 4 * width**2
    limit = present["max_object_size"]
    if ROOM * area <= limit:
        return None
    wanted = math.ceil(WANTED * area / 1000) * 1000
    return (
        f"max_object_size: cells are about {width:.0f} px wide, as {SEES} sees them, and logstd divides or leaves out "
        f"what is larger than {limit} px; write params: {{max_object_size: {wanted}}}, and look again"
    )
