"""Estimate the memory and time that a job needs from the size of its frames.

Figures are upper estimates measured with benchmarks/: memory is a start-up share, a number of frames, since no stage
holds a movie, and what grows with the rows of the traces; time is per megapixel and channel, some ten times what
one core of a workstation needs, for slow cores and slow file systems.

A cluster job that runs several stages gets the largest of their memories and the sum of their times.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from celltraces.config.stage_settings import is_network
from celltraces.readers.movie import Movie

BASE_MB = 400  # Snakemake (200, and every cluster job has its own), interpreter and libraries of the script (75)
CELLS_PER_MEGAPIXEL = 150  # in a well filled frame; what has more gets it at a second or third attempt


class Cost(NamedTuple):
    """Of a job of one stage."""

    frames: int = 0  # bytes per pixel of a frame
    fixed_mb: int = 0  # a batch of cells; a picture; pandas
    row_bytes: int = 0  # a row is one cell in one frame
    minutes: float | None = None  # per megapixel of a frame and channel; None: the rule names the time itself


COSTS = {
    "copy": Cost(24, minutes=0.003),
    "segment": Cost(60, minutes=0.005),
    # The network and the largest tile in it; 45 bytes, and 65 for each pixel of the network's picture, also where 1.4
    # is yet to be found. One thread takes 5 s at a scale of 1, and 28 s at 2, which may yet be found; without
    # instructions for bytes more.
    "segment_learned": Cost(190, 400, minutes=3.5),
    "segment_learned_large": Cost(340, 400, minutes=7),
    # PyTorch, and the network of cellpose 4; 1200 MB for those of 3. CPU, diameter 30 px, one thread: 50 s, cellpose 4
    # some 230 s; a fourth at 60.
    "segment_cellpose": Cost(400, 2800, minutes=5),
    "track": Cost(
        60, minutes=0.003
    ),  # 20 of them for runs of equal pixels of 17 frames with 2,000 cells on 2048 x 2048
    "flat_field": Cost(80),
    "flatten": Cost(60, minutes=0.007),
    "register": Cost(80, minutes=0.03),
    "background": Cost(60, minutes=0.007),
    "crop": Cost(40, 400, 200, 0.013),
    "extract": Cost(20, 200, 400, 0.02),
    "merge": Cost(0, 200, 400),
    "cache": Cost(24, minutes=0.005),
    "draw_overlay": Cost(24, minutes=0.01),
    "digest": Cost(40, 200, minutes=0.005),
    "digest_images": Cost(40, 200, minutes=0.005),
    "preview_segment": Cost(60),
    "preview_compare": Cost(120, 400),
    "apply_corrections": Cost(80, 400, minutes=0.05),
    "apply_edits": Cost(80, minutes=0.005),
    "export": Cost(80, 800, minutes=0.05),
}
SPOOL_MINUTES = 0.05  # copying from PYME, whose frames may be Huffman coded
MINUTES_PER_MILLION_ROWS = 3  # merging


def segmenting(params: Mapping[str, Any]) -> str:
    """The stage whose figures hold for segmentation with these parameters."""
    method = params["segmentation_method"]
    if method == "cellpose":
        return "segment_cellpose"
    if is_network(method):
        return "segment_learned" if (params["segmentation_scale"] or 1) <= 1 else "segment_learned_large"
    return "segment"


def memory_mb(stage: str, movie: Movie, fov: int) -> int:
    """Megabytes for one job of `stage` on one FOV of a movie."""
    cost = COSTS[stage]
    rows = cost.row_bytes * _rows(movie, fov) / 1e6
    return math.ceil(BASE_MB + cost.fixed_mb + cost.frames * megapixels(movie, fov) + rows)


def runtime_min(stage: str, movie: Movie, fov: int) -> int:
    """Minutes for one job of `stage`."""
    of_spool = stage == "copy" and movie.format == "pyme"
    minutes = SPOOL_MINUTES if of_spool else COSTS[stage].minutes
    return math.ceil(2 + minutes * megapixels(movie, fov) * movie.n_frames * len(movie.channels))


def trying_min(stage: str, movie: Movie, fovs: Iterable[int]) -> int:
    """Minutes for a preview of `stage` on one frame of each of these FOVs, which may name one more than once."""
    return math.ceil(10 + COSTS[stage].minutes * sum(megapixels(movie, fov) for fov in fovs))


def merging(movie: Movie, fovs: Iterable[int]) -> Mapping[str, int]:
    """Megabytes and minutes to merge the traces of some FOVs: they are in memory together."""
    rows, cost = sum(_rows(movie, fov) for fov in fovs), COSTS["merge"]
    return {
        "mem_mb": math.ceil(BASE_MB + cost.fixed_mb + cost.row_bytes * rows / 1e6),
        "runtime": math.ceil(5 + MINUTES_PER_MILLION_ROWS * rows / 1e6),
    }


def megapixels(movie: Movie, fov: int) -> float:
    """Size of a frame of one FOV."""
    place: Mapping[str, Any] = movie.fovs[fov]
    return place["height"] * place["width"] / 1e6


def _rows(movie: Movie, fov: int) -> float:
    return CELLS_PER_MEGAPIXEL * megapixels(movie, fov) * movie.n_frames
