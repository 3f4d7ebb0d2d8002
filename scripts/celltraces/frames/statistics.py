"""Compute the statistics of a frame that the quality checks need, while it is copied."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from celltraces.frames import camera_faults, coverage, exposure
from celltraces.frames.coverage import Boxes
from celltraces.storage import display_level
from celltraces.storage.frames import Frames

NOISE_SAMPLE = 32_768  # differences that are looked at, about
FEW = 10  # pixels that may have the highest value of a frame by chance
NAMES = ("mean", "lowest", "highest", "at_highest", "contrast", "low", "floor", "wrapped", "noise")
LOWER_HALF = 0.3246  # mean of the smaller half of the absolute values of normal noise, in its standard deviations
NO_STATISTICS = dict.fromkeys(NAMES)


def frame_statistics(image: np.ndarray, counts: np.ndarray, uncovered: Boxes = ()) -> dict[str, float]:
    """What the checks of quality need to know of a (H, W) frame; `counts` is the number of its pixels by value, up to
    the highest. Of pixels that are `uncovered` nothing is told, nor are they counted.

    lowest, highest, mean: counts. at_highest: share of the pixels that have the highest value, less those one count
    below, which is above 0 only where a camera or a file format cut values off. contrast: standard deviation of the
    difference of pixels two columns apart, by the mean, which falls to a half and less when a phase-contrast image is
    out of focus. Mean and contrast are of every eighth row: they are compared, not measured with. low, floor: see
    exposure.levels. wrapped: see camera_faults.wrapped_edges. noise: standard deviation of a pixel in the calmer half
    of the image, in counts.
    """
    rows = image[::8].astype(np.float32)
    mask = beside = None
    if uncovered:
        covered = ~coverage.mask_of_boxes(uncovered, image.shape)[::8]
        mask, beside = covered.view(np.uint8), (covered[:, 2:] & covered[:, :-2]).view(np.uint8)
    mean = cv2.mean(rows, mask)[0]
    differences = rows[:, 2:] - rows[:, :-2] if image.shape[1] > 2 else np.zeros((len(rows), 1), np.float32)
    spread = float(cv2.meanStdDev(differences, mask=beside)[1][0, 0])
    lowest, highest = int(np.argmax(counts > 0)), len(counts) - 1
    low, floor = exposure.levels(counts)
    piled = int(counts[highest])
    piled = piled - int(counts[highest - 1] if highest else 0) if piled >= FEW else 0
    return {
        "mean": round(mean, 3),
        "lowest": lowest,
        "highest": highest,
        "at_highest": round(max(piled, 0) / (image.size - coverage.area_of(uncovered)), 9),
        "contrast": round(spread / mean, 6) if mean else 0.0,
        "low": round(low, 3),
        "floor": round(floor, 3),
        "wrapped": camera_faults.wrapped_edges(image, counts),
        "noise": round(_noise(differences if beside is None else differences[beside > 0]), 3),
    }


def _noise(differences: np.ndarray) -> float:
    """The standard deviation of a pixel from differences of pixels: that of normal noise with the same smaller half."""
    values = np.abs(differences.ravel()[:: max(differences.size // NOISE_SAMPLE, 1)])
    if not len(values):
        return 0.0
    half = max(len(values) // 2, 1)
    return float(np.partition(values, half - 1)[:half].mean()) / LOWER_HALF / 2**0.5


def statistics_of(frames: Frames) -> dict[str, list[Any]]:
    """The statistics of all frames by name, a list each, None where the file did not hold the frame."""
    found: dict[str, list[Any]] = {name: [] for name in NO_STATISTICS}
    for frame in range(frames.shape[0]):
        of_frame: dict[str, Any] = NO_STATISTICS
        if frames.present(frame):
            image = frames.read(frame)
            boxes = coverage.of_frame(frames.attributes, frame)
            counts = display_level.count_pixels(image, coverage.area_of(boxes))
            of_frame = frame_statistics(image, counts, boxes)
        for name, value in of_frame.items():
            found[name].append(value)
    return found
