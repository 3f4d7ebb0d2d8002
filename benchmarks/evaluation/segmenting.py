"""Segment the images of a movie by each method that is here."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from celltraces.errors import UserError
from celltraces.segmentation.methods import Segment, label_frame, segmenter
from evaluation.linking import defaults


def segmenters() -> dict[str, Callable[[], Segment]]:
    """The methods of segmentation that are here, with their defaults: functions that give a new one."""
    params = defaults()
    names = ("logstd_outline", "logstd_window_size", "morph_size", "morph_iterations", "min_object_size")
    names += ("max_object_size", "segmentation_scale", "segmentation_debris", "cellpose_model", "cellpose_diameter")
    settings = {name: params[name] for name in names}
    found = {
        f"logstd, {outline}": partial(segmenter, "logstd", {**settings, "logstd_outline": outline})
        for outline in ("cell", "halo")
    }
    for method in ("pyama", "deepsea", "cellpose"):
        new = partial(segmenter, method, settings)
        try:
            new()
        except UserError as error:
            print(f"{method} is left out: {error}", flush=True)
        else:
            found[method] = new
    return found


def segmented(images: Sequence[np.ndarray], segment: Segment) -> tuple[list[np.ndarray], float]:
    """Labels of each image, and CPU seconds per image, the first one apart, in which a method gets ready."""
    labels, seconds = [], []
    for frame, image in enumerate(images):
        start = time.process_time()
        labels.append(label_frame(segment, image, (), frame)[0])
        seconds.append(time.process_time() - start)
    return labels, float(np.mean(seconds[1:] or seconds))
