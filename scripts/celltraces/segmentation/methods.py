"""Choose the segmentation function that the configuration names, and check what it returns."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import cv2
import numpy as np

from celltraces import plugins
from celltraces.errors import UserError
from celltraces.frames import coverage
from celltraces.labels import left_out
from celltraces.pyme.recipe import LABELS, Recipe, read_recipe

Segment = Callable[..., np.ndarray | tuple[np.ndarray, np.ndarray]]
"""segment(image, uncovered): (H, W) uint16 -> (H, W) labels, alone or with what was left out because of its size,
(H, W) uint8 as in `left_out`; uncovered, if given: (H, W) bool, pixels without data."""


def segmenter(method: str, settings: Mapping[str, Any], recipe: str | None = None) -> Segment:
    """The function that labels one frame by `method` with the stage's settings.

    A recipe makes an image of the frame before, or the labels themselves.
    """
    if recipe:
        prepare = read_recipe(recipe)
        if prepare.makes == LABELS:
            return _covered_part(lambda image: numbered_in_raster_order(prepare.run(image)))
        return _prepared(prepare, segmenter(method, settings))
    if method == "deepsea" or method.endswith(".onnx"):
        from celltraces.segmentation.learned import LearnedSegmenter, load_network

        told = (settings[key] for key in ("segmentation_scale", "min_object_size", "segmentation_debris"))
        return _covered_part(LearnedSegmenter(load_network(method), *told))
    if method == "logstd":
        of_networks = ("segmentation_scale", "cellpose_model", "cellpose_diameter")
        return partial(_by_log_std, **{key: settings[key] for key in settings if key not in of_networks})
    if method == "pyama":
        from celltraces.segmentation import pyama_original

        return _covered_part(pyama_original.segment_frame)
    if method == "cellpose":
        from celltraces.segmentation.cellpose_method import cellpose_segmenter

        model, diameter = settings.get("cellpose_model"), settings.get("cellpose_diameter")
        return _covered_part(cellpose_segmenter(settings["min_object_size"], model, diameter))
    return _covered_part(plugins.load_function(method, "segmentation_method"))


def scale_searcher(
    method: str, recipe: str | None = None, pixel_size_um: float | None = None
) -> tuple[Segment, Callable[[], float | None]]:
    """A function to be given frames like a segmenter, and one that then says at which scale a network is to see them.

    method: deepsea or path/to/model.onnx.
    """
    from celltraces.segmentation.learned import ScaleSearch, load_network

    search = ScaleSearch(load_network(method), pixel_size_um)
    segment = _covered_part(search)
    return (_prepared(read_recipe(recipe), segment) if recipe else segment), search.scale


def _prepared(prepare: Recipe, segment: Segment) -> Segment:
    """`segment` for images that a recipe prepares."""

    def prepared(image: np.ndarray, uncovered: np.ndarray | None = None) -> np.ndarray:
        if uncovered is not None:
            image = coverage.continued(image, uncovered, mirrored=True)
        return segment(np.rint(np.clip(prepare.run(image), 0, 65535)).astype(np.uint16), uncovered)

    prepared.wraps = segment
    return prepared


def _covered_part(label: Callable[[np.ndarray], np.ndarray]) -> Segment:
    """`label` for images with pixels without data: it sees the image mirrored there, and what it finds there is cut
    off; pieces of a region that this leaves are regions of their own."""

    def segment(image: np.ndarray, uncovered: np.ndarray | None = None) -> np.ndarray:
        if uncovered is None:
            return label(image)
        labels, rejected = checked_labels(label(coverage.continued(image, uncovered, mirrored=True)), image.shape)
        labels = without_uncovered(labels, uncovered)
        return labels if rejected is None else (labels, np.where(uncovered, np.uint8(0), rejected))

    segment.wraps = label
    return segment


def attributes_of(segment: Segment) -> dict[str, Any]:
    """What the method found out about the movie, to be recorded with the labels. Ask after the last frame."""
    while hasattr(segment, "wraps"):
        segment = segment.wraps
    return dict(getattr(segment, "attributes", {}))


def without_uncovered(labels: np.ndarray, uncovered: np.ndarray) -> np.ndarray:
    """The regions less the pixels that are uncovered, 4-connected pieces apart, numbered 1..N in raster order."""
    kept = np.where(uncovered, 0, labels).astype(np.int64)
    highest = int(labels.max(initial=0))
    for cut in np.unique(labels[uncovered & (labels > 0)]).tolist():
        n, pieces = cv2.connectedComponents((kept == cut).view(np.uint8), connectivity=4, ltype=cv2.CV_32S)
        kept[pieces > 1] = highest + pieces[pieces > 1]
        highest += n
    return numbered_in_raster_order(kept)


def label_frame(
    segment: Segment, image: np.ndarray, boxes: coverage.Boxes, frame: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Labels of a frame (H, W), none where it is uncovered (`boxes`), and what the method left out, if it says so.

    The method gets the smallest rectangle with all that is covered: within borders without data it finds just what it
    would in a frame that ends there.
    """
    if not boxes:
        return checked_labels(segment(image), image.shape, frame)
    uncovered = coverage.mask_of_boxes(boxes, image.shape)
    labels, rejected = np.zeros(image.shape, np.int64), np.zeros(image.shape, np.uint8)
    y, x = (np.flatnonzero(~uncovered.all(axis=axis)) for axis in (1, 0))
    if len(y):
        part = np.s_[y[0] : y[-1] + 1, x[0] : x[-1] + 1]
        inside = np.ascontiguousarray(uncovered[part])
        image = np.ascontiguousarray(image[part])
        found = segment(image, inside) if inside.any() else segment(image)
        labels[part], left = checked_labels(found, image.shape, frame)
        if left is None:
            return labels, None
        rejected[part] = left
    return labels, rejected


def _by_log_std(
    image: np.ndarray, uncovered: np.ndarray | None = None, **settings: Any
) -> tuple[np.ndarray, np.ndarray]:
    from celltraces.segmentation import logstd

    rejected = np.zeros(image.shape, np.uint8)
    return logstd.segment_frame(image, uncovered, rejected=rejected, **settings), rejected


def numbered_in_raster_order(labels: np.ndarray) -> np.ndarray:
    """The same regions, numbered 1..N by their first pixel."""
    found, first, where = np.unique(labels, return_index=True, return_inverse=True)
    order = np.argsort(np.where(found == 0, -1, first))
    numbers = np.empty(len(found), np.int64)
    numbers[order] = np.arange(len(found)) + (0 not in found)
    return numbers[where].reshape(labels.shape)


def checked_labels(
    result: Any, shape: tuple[int, int], frame: int | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """What a method returned, if it is a label image, and what it left out, if it says so."""
    labels, rejected = left_out.parts(result)
    place = "" if frame is None else f"frame {frame}: "
    labels = np.asarray(labels)
    if labels.shape != shape or labels.dtype.kind not in "iu" or labels.min(initial=0) < 0:
        raise UserError(
            f"segmentation_method: {place}expected labels of shape {shape} (integers from 0), "
            f"got {labels.dtype} of shape {labels.shape}"
        )
    if rejected is None:
        return labels, None
    rejected = np.asarray(rejected)
    if (
        rejected.shape != shape
        or rejected.dtype.kind not in "iu"
        or rejected.min(initial=0) < 0
        or rejected.max(initial=0) > max(left_out.REASONS)  # 0 and all numbers up to it have a meaning
    ):
        raise UserError(
            f"segmentation_method: {place}what was left out must have shape {shape} and be 0, 1 (too small), "
            f"2 (too large) or 3 (too narrow), got {rejected.dtype} of shape {rejected.shape}"
        )
    return labels, rejected.astype(np.uint8, copy=False)
