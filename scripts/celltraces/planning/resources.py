"""Estimate the memory and time that a job needs from the size of its frames.

Figures are upper estimates measured with benchmarks/: memory is a start-up share, a number of frames, since no stage
holds a movie, and what grows with the rows of the traces; time is per megapixel and channel, some ten times what
one core of a workstation needs, for slow cores and slow file systems.

A cluster job that runs several stages gets the largest of their memories and the sum of their times.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from celltraces.readers.movie import Movie

BASE_MB = 400  # Snakemake (200, and every cluster job has its own), interpreter and libraries of the script (75)
FRAMES = {
    "copy": 24,
    "segment": 60,
    "segment_learned": 100,
    "track": 40,
    "register": 80,
    "background": 60,
    "crop": 40,
    "extract": 20,
    "cache": 24,
    "draw_overlay": 24,
    "digest": 40,
    "digest_images": 40,
    "preview_segment": 60,
    "preview_compare": 120,
    "apply_corrections": 80,
    "apply_edits": 80,
    "export": 80,
}  # bytes per pixel
# A batch of cells; a picture; pandas.
FIXED_MB = {
    "segment_learned": 400,  # the network and the largest tile in it
    "crop": 400,
    "extract": 200,
    "digest": 200,
    "digest_images": 200,
    "merge": 200,
    "preview_compare": 400,
    "apply_corrections": 400,
    "export": 800,
}
CELLS_PER_MEGAPIXEL = 150  # in a well filled frame; what has more gets it at a second or third attempt
ROW_BYTES = {"crop": 200, "extract": 400, "merge": 400}  # a row is one cell in one frame
MINUTES_PER_MEGAPIXEL = {
    "copy": 0.003,
    "segment": 0.005,
    "segment_learned": 0.5,  # more at scales above 0.5, on one thread
    "track": 0.003,
    "register": 0.03,
    "background": 0.007,
    "crop": 0.013,
    "extract": 0.02,
    "cache": 0.005,
    "draw_overlay": 0.01,
    "digest": 0.005,
    "digest_images": 0.005,
    "apply_corrections": 0.05,
    "apply_edits": 0.005,
    "export": 0.05,
}
SPOOL_MINUTES = 0.05  # copying from PYME, whose frames may be Huffman coded
MINUTES_PER_MILLION_ROWS = 3  # merging


def segmenting(method: str) -> str:
    """The stage whose figures hold for segmentation by `method`."""
    return "segment_learned" if method == "deepsea" or method.endswith(".onnx") else "segment"


def memory_mb(stage: str, movie: Movie, fov: int) -> int:
    """Megabytes for one job of `stage` on one FOV of a movie."""
    frames = FRAMES[stage] * _megapixels(movie, fov)
    rows = ROW_BYTES.get(stage, 0) * _rows(movie, fov) / 1e6
    return math.ceil(BASE_MB + FIXED_MB.get(stage, 0) + frames + rows)


def runtime_min(stage: str, movie: Movie, fov: int) -> int:
    """Minutes for one job of `stage`."""
    megapixels = _megapixels(movie, fov) * movie.n_frames * len(movie.channels)
    of_spool = stage == "copy" and movie.format == "pyme"
    return math.ceil(2 + (SPOOL_MINUTES if of_spool else MINUTES_PER_MEGAPIXEL[stage]) * megapixels)


def merging(movie: Movie, fovs: Iterable[int]) -> Mapping[str, int]:
    """Megabytes and minutes to merge the traces of some FOVs: they are in memory together."""
    rows = sum(_rows(movie, fov) for fov in fovs)
    return {
        "mem_mb": math.ceil(BASE_MB + FIXED_MB["merge"] + ROW_BYTES["merge"] * rows / 1e6),
        "runtime": math.ceil(5 + MINUTES_PER_MILLION_ROWS * rows / 1e6),
    }


def _megapixels(movie: Movie, fov: int) -> float:
    place: Mapping[str, Any] = movie.fovs[fov]
    return place["height"] * place["width"] / 1e6


def _rows(movie: Movie, fov: int) -> float:
    return CELLS_PER_MEGAPIXEL * _megapixels(movie, fov) * movie.n_frames
