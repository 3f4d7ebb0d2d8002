"""What the checks of quality need to know of the pixels of a frame, found when it is copied."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from pyama import display, store

FEW = 10  # pixels that may have the highest value of a frame by chance
NO_STATISTICS = {"mean": None, "lowest": None, "highest": None, "at_highest": None, "contrast": None}


def frame_statistics(image: np.ndarray, counts: np.ndarray) -> dict[str, float]:
    """What the checks of quality need to know of a (H, W) frame; `counts` is the number of its pixels by value, up to
    the highest.

    lowest, highest, mean: counts. at_highest: share of the pixels that have the highest value, less those one count
    below, which is above 0 only where a camera or a file format cut values off. contrast: standard deviation of the
    difference of pixels two columns apart, by the mean, which falls to a half and less when a phase-contrast image is
    out of focus. Mean and contrast are of every eighth row: they are compared, not measured with.
    """
    rows = image[::8].astype(np.float32)
    mean = cv2.mean(rows)[0]
    spread = float(cv2.meanStdDev(rows[:, 2:] - rows[:, :-2])[1][0, 0]) if image.shape[1] > 2 else 0.0
    lowest, highest = int(np.argmax(counts > 0)), len(counts) - 1
    piled = int(counts[highest])
    piled = piled - int(counts[highest - 1] if highest else 0) if piled >= FEW else 0
    return {
        "mean": round(mean, 3),
        "lowest": lowest,
        "highest": highest,
        "at_highest": round(max(piled, 0) / image.size, 9),
        "contrast": round(spread / mean, 6) if mean else 0.0,
    }


def statistics_of(frames: store.Frames) -> dict[str, list[Any]]:
    """The statistics of all frames by name, a list each, None where the file did not hold the frame."""
    found: dict[str, list[Any]] = {name: [] for name in NO_STATISTICS}
    for frame in range(frames.shape[0]):
        of_frame: dict[str, Any] = NO_STATISTICS
        if frames.present(frame):
            image = frames.read(frame)
            of_frame = frame_statistics(image, display.count_pixels(image))
        for name, value in of_frame.items():
            found[name].append(value)
    return found
