"""What a job may need of memory and time, from the size of its frames.

Figures are upper estimates measured with benchmarks/: memory is a start-up share plus a number of frames, since no
stage holds a movie; time is per megapixel and channel on a slow core.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pyama.microscopy import Movie

BASE_MB = 300  # interpreter, Snakemake's wrapper, libraries
FRAMES = {
    "copy": 24,
    "segment": 60,
    "track": 40,
    "background": 60,
    "crop": 40,
    "extract": 20,
    "cache": 24,
    "overlay": 24,
    "preview_compare": 120,
    "corrections": 80,
    "export": 80,
}  # bytes per pixel
# A batch of cells; a picture.
FIXED_MB = {"crop": 400, "extract": 200, "preview_compare": 400, "corrections": 400, "export": 800}
MINUTES_PER_MEGAPIXEL = {
    "copy": 0.01,
    "segment": 0.02,
    "track": 0.01,
    "background": 0.02,
    "crop": 0.02,
    "extract": 0.02,
    "cache": 0.01,
    "overlay": 0.01,
    "corrections": 0.05,
    "export": 0.05,
}


def memory_mb(stage: str, fov: Mapping[str, Any]) -> int:
    """Megabytes for one job of `stage` on one FOV of a plan."""
    megapixels = fov["height"] * fov["width"] / 1e6
    return math.ceil(BASE_MB + FIXED_MB.get(stage, 0) + FRAMES[stage] * megapixels)


def runtime_min(stage: str, movie: Movie, fov: int) -> int:
    """Minutes for one job of `stage`."""
    place = movie.fovs[fov]
    megapixels = place["height"] * place["width"] * movie.n_frames * len(movie.channels) / 1e6
    return math.ceil(5 + MINUTES_PER_MEGAPIXEL[stage] * megapixels)
