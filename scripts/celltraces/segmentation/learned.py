"""Segment with a trained network (deepsea, or an .onnx file of the user's), at the scale that suits the size of the
cells."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from celltraces.errors import UserError
from celltraces.labels.regions import typical_diameter
from celltraces.runs import job
from celltraces.segmentation.flows import Following, cells_of_flows
from celltraces.segmentation.onnx_model import Maps, Model, load_model, resized, run_tiled, stretched, try_model
from celltraces.segmentation.parting import part_cells

SCALES = (0.125, 0.25, 0.5, 1.0, 2.0)  # tried to find out how large cells are
TRIAL = 448  # px of the network's picture, the width of what is tried
ENOUGH = 5  # cells; sizes of fewer count where no scale finds more
MOST_UNSURE = 0.2  # probability on the wrong side of 1/2, per pixel of cells; 0.05 to 0.1 where the size is right
LEAST = 0.1  # share of the usual area, from which an object counts where the scale is sought
SURE_ENOUGH = 1.2  # factor to the least unsure
UNLIKE = 2.0  # factor between diameters, from which two scales that the network is about as sure at contradict
FAR = 4.01  # factor between the scales by cells and by pixels, from which one of both sizes is likely to be wrong
STEP = 2**0.5  # scales differ by this factor: so most FOVs of a dataset agree, and outlines suffer little from it
LARGER, HALF = 1.25, 0.5  # as for a scale so much larger, this one is taken: in smaller pictures more cells are missed
USUAL_DIAMETER = 37.0  # px of the network's picture, where a model does not say it
LARGEST_FILE = 1 << 30
LARGE_ARRAY = 1 << 20  # bytes; to keep a network's layers, which all differ in size, would take three times the memory

log = logging.getLogger("celltraces")


class LearnedSegmenter:
    """segment(frame): (H, W) -> (H, W) labels, and what was left out as too small, as in `left_out`.

    scale: None is found on the first frame with cells. min_object_size: px; debris: share of the usual cell's area;
    smaller objects are left out.
    """

    def __init__(self, model: Model, scale: float | None, min_object_size: int, debris: float) -> None:
        self.model, self.scale, self.min_object_size, self.debris = model, scale, min_object_size, debris

    @property
    def attributes(self) -> dict[str, Any]:
        """What the labels are recorded with."""
        return {} if self.scale is None else {"segmentation_scale": self.scale}

    def __call__(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        nothing = np.zeros(frame.shape, np.int32), np.zeros(frame.shape, np.uint8)
        if frame.min() == frame.max():
            return nothing
        picture = stretched(frame, self.model.contract)
        if self.scale is None:
            search = ScaleSearch(self.model)
            search.look(picture)
            self.scale = search.scale()
            if self.scale is None:
                return nothing
            log.info("segmentation_scale: %g, by the size of the cells", self.scale)
        maps = maps_of_scales(self.model, picture, self.scale)
        return _labels(self.model, maps, frame.shape, self.min_object_size, self.debris)


def load_network(method: str) -> Model:
    """The network of `segmentation_method: deepsea` or path/to/model.onnx. Raises UserError.

    The network gets as many threads as OpenCV has, which are the rule's; they change no result.
    """
    if method == "deepsea":
        from celltraces.segmentation.deepsea import deepsea_model

        data = deepsea_model()
    else:
        try:
            with open(method, "rb") as file:
                data = file.read(LARGEST_FILE + 1)
        except OSError as error:
            raise UserError(
                f"params.segmentation_method: {method!r} cannot be read ({error.strerror}); check the path"
            ) from None
        if len(data) > LARGEST_FILE:
            raise UserError(f"params.segmentation_method: {method!r} is larger than 1 GiB")
    job.keep_memory(LARGE_ARRAY)
    return load_model(data, method if method == "deepsea" else repr(method), max(1, cv2.getNumThreads()))


@dataclass(frozen=True)
class Usable:
    """What is known of a method that can run."""

    method: str


def try_method(method: str | Path) -> Usable:
    """Load the network of `deepsea`, an .onnx file, or cellpose's package, before a run begins. Raises UserError, where
    the method could not run.

    A file of a model is run once besides. Cellpose's models may have to be downloaded, which is left to its jobs.
    """
    method = str(method)
    if method == "cellpose":
        from celltraces.segmentation.cellpose_method import installed

        installed()
    else:
        model = load_network(method)
        if method != "deepsea":
            try_model(model)
    return Usable(method)


def scales_seen(scale: float, n_scales: int) -> list[float]:
    """At which scales a network sees a picture: the one asked for first, then those beside it, a STEP apart.

    As many on either side, and none above 1, since a larger picture than the frame shows nothing more, and noise in it
    is taken for cells. Where the scale itself is above 1, those below it.
    """
    seen = [scale]
    for step in range(1, n_scales // 2 + 1):
        smaller, larger = scale / STEP**step, scale * STEP**step
        if scale > 1:
            seen.append(smaller)
        elif larger <= 1.001:  # scales are rounded
            seen += [smaller, larger]
    return seen


def maps_of_scales(model: Model, picture: np.ndarray, scale: float) -> Maps:
    """The model's outputs for a stretched frame (H, W), of the size that it has at `scale`, from all `scales_seen`.

    Of edges the largest probability, since what parts two cells is often seen at one scale only; else the mean.
    """
    first, *others = scales_seen(scale, model.contract.scales)
    maps = run_tiled(model, resized(picture, first, model.contract))
    for other in others:
        for name, values in run_tiled(model, resized(picture, other, model.contract)).items():
            size = maps[name].shape[::-1]
            kind = cv2.INTER_AREA if other > first else cv2.INTER_LINEAR
            values = cv2.resize(values, size, interpolation=kind)
            if name == "edges":
                np.maximum(maps[name], values, out=maps[name])
            else:
                length = first / other if name == "distance" else 1  # px of the picture
                maps[name] = maps[name] + np.float32(length) * values
    n_seen = 1 + len(others)
    return {name: values if name == "edges" else values / np.float32(n_seen) for name, values in maps.items()}


def _labels(
    model: Model, maps: Maps, shape: tuple[int, ...], min_area: int, debris: float
) -> tuple[np.ndarray, np.ndarray]:
    contract = model.contract
    sizes = {
        "threshold": contract.threshold,
        "diameter": contract.diameter or USUAL_DIAMETER,
        "min_area": min_area,
        "debris": debris if contract.diameter else 0,
    }
    if "flow_y" in maps:
        following = Following(contract.flow_length, contract.flow_steps, contract.flow_error)
        return cells_of_flows(maps["mask"], np.stack([maps["flow_y"], maps["flow_x"]]), shape, following, **sizes)
    return part_cells(maps["mask"], maps.get("edges"), maps.get("distance"), shape, **sizes)


class ScaleSearch:
    """segment(frame): (H, W) -> (H, W) without labels; looks at the frames to find their `scale`.

    pixel_size_um: None where it is not known.

    The network looks at the busiest part of each frame at each of SCALES. The size of the cells is taken from the
    smallest scale at which it is about as sure of its cells as it ever is: at smaller ones it misses them, at larger
    ones it finds their parts. All frames together decide.
    """

    def __init__(self, model: Model, pixel_size_um: float | None = None) -> None:
        self.model, self.pixel_size_um = model, pixel_size_um
        self.found: dict[float, list[tuple[np.ndarray, float]]] = {scale: [] for scale in SCALES}

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        if frame.min() < frame.max():
            self.look(stretched(frame, self.model.contract))
        return np.zeros(frame.shape, np.int32)

    def look(self, picture: np.ndarray) -> None:
        """Try all scales on a stretched frame (H, W)."""
        if self.model.contract.diameter is None:
            return
        for scale, found in self.found.items():
            small = resized(_busiest_part(picture, round(TRIAL / scale)), scale, self.model.contract)
            maps = run_tiled(self.model, small)
            labels, _ = _labels(self.model, maps, small.shape, 0, LEAST)
            if labels.any():
                mask = maps["mask"]
                unsure = np.minimum(mask, 1 - mask).sum(dtype=np.float64)
                found.append((labels, float(unsure / max(1, np.count_nonzero(mask > 0.5)))))

    def scale(self) -> float | None:
        """The scale by the size of the cells; by that of pixels where this is a STEP from it, or no cells were seen.

        None where that is not known either. 1 where the model says neither which diameter it knows nor which pixels.
        """
        known = self.model.contract.pixel_size
        by_pixels = _step(self.pixel_size_um / known) if self.pixel_size_um and known else None
        if self.model.contract.diameter is None:
            return by_pixels or 1.0
        by_cells = self._by_cells()
        if by_cells is None or by_pixels is None:
            return by_cells or by_pixels
        log.info("scale %g by the size of the cells, %g by that of pixels", by_cells, by_pixels)
        apart = abs(math.log(by_cells / (self.pixel_size_um / known)))
        if apart > math.log(FAR):
            log.warning(
                "%ssegmentation_scale: %g by the size of the cells, as it is taken, and %.3g by pixels of %g um; look "
                "at the preview, and set params.segmentation_scale, or params.pixel_size_um where the file lacks it",
                *(job.SAID, by_cells, self.pixel_size_um / known, self.pixel_size_um),
            )
        return by_pixels if abs(math.log(by_cells / by_pixels)) < 1.01 * math.log(STEP) else by_cells

    def _by_cells(self) -> float | None:
        """The scale at which the cells have the diameter that the network knows; None: no cells were seen."""
        tried = []
        for scale, found in self.found.items():
            n_cells = sum(int(labels.max()) for labels, _ in found)
            diameter = typical_diameter(*(labels for labels, _ in found))
            unsure = float(np.median([unsure for _, unsure in found])) if found else math.inf
            log.info("scale %g: %d cells, %.1f px in the picture, unsure %.3f", scale, n_cells, diameter, unsure)
            if n_cells and unsure < MOST_UNSURE:
                tried.append((n_cells, unsure, diameter / scale))
        tried = [one for one in tried if one[0] >= ENOUGH] or tried
        if not tried:
            return None
        limit = SURE_ENOUGH * min(unsure for _, unsure, _ in tried)
        likely = [diameter for _, unsure, diameter in tried if unsure <= limit]
        for other in likely[1:]:
            if max(other, likely[0]) >= UNLIKE * min(other, likely[0]):
                log.warning(
                    "%ssegmentation_scale: cells may be %.0f px wide, as it is taken, or %.0f px; look at the preview, "
                    "and set params.segmentation_scale to %g or %g",
                    *(job.SAID, likely[0], other, self._scale_of(likely[0]), self._scale_of(other)),
                )
        return self._scale_of(likely[0])

    def _scale_of(self, diameter: float) -> float:
        """The scale, one of some steps, at which cells of that diameter in the frame, px, have about the network's."""
        scale = (self.model.contract.diameter or USUAL_DIAMETER) / diameter
        return HALF if _step(LARGER * scale) == HALF else _step(scale)


def _step(scale: float) -> float:
    """The nearest of the steps that scales are found in."""
    return min(max(round(STEP ** round(math.log(scale, STEP)), 4), min(SCALES)), max(SCALES))


def _busiest_part(picture: np.ndarray, width: int) -> np.ndarray:
    """The square of at most that width in which pixels differ most from their neighbours."""
    height_wanted, width_wanted = (min(width, side) for side in picture.shape)
    change = cv2.morphologyEx(picture, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    change = np.minimum(change, np.percentile(change, 90))  # debris is brighter than cells
    total = cv2.integral(change)
    sums = (
        total[height_wanted:, width_wanted:]
        - total[:-height_wanted, width_wanted:]
        - total[height_wanted:, :-width_wanted]
        + total[:-height_wanted, :-width_wanted]
    )
    y, x = np.unravel_index(np.argmax(sums), sums.shape)
    return picture[y : y + height_wanted, x : x + width_wanted]
