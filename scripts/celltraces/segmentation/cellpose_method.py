"""Segment with Cellpose, an optional package."""

from collections.abc import Callable

import numpy as np

from celltraces.errors import UserError


def cellpose_segmenter(min_object_size: int) -> Callable[[np.ndarray], np.ndarray]:
    """Cellpose with its own default model, on a GPU where there is one. The package is not part of the environment."""
    try:
        from cellpose import models
    except ImportError:
        raise UserError(
            "params.segmentation_method: cellpose is not installed; run `.venv/bin/pip install cellpose`"
        ) from None
    model = models.CellposeModel(gpu=True)

    def segment(image: np.ndarray) -> np.ndarray:
        masks = model.eval(image, min_size=min_object_size)[0]
        return np.asarray(masks, np.int64)

    return segment
