"""Segment with Cellpose, an optional package."""

from collections.abc import Callable

import numpy as np

from celltraces.errors import UserError


def cellpose_segmenter(
    min_object_size: int, model_name: str | None = None, diameter: float | None = None
) -> Callable[[np.ndarray], np.ndarray]:
    """Cellpose, on a GPU where there is one. The package is not part of the environment.

    `model_name`: one of Cellpose's models or the file of one; None: its default. `diameter` of the cells, px; None: as
    the model finds it. Raises UserError where the package or the model cannot be had.
    """
    try:
        from cellpose import models
    except ImportError:
        raise UserError(
            "params.segmentation_method: cellpose is not installed; run `.venv/bin/pip install cellpose`"
        ) from None
    try:
        model = models.CellposeModel(gpu=True, **({} if model_name is None else {"pretrained_model": model_name}))
    except Exception as error:  # of a file that holds something else, or a download that fails
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"params.cellpose_model: {model_name!r} cannot be loaded ({type(error).__name__}: {reason}); name the file "
            "of a model that this version of Cellpose can read, or, where there is a network, one of its models"
        ) from None
    sized = {} if diameter is None else {"diameter": diameter}

    def segment(image: np.ndarray) -> np.ndarray:
        masks = model.eval(image, min_size=min_object_size, **sized)[0]
        return np.asarray(masks, np.int64)

    return segment
