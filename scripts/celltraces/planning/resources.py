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

from celltraces.config.stage_settings import is_network
from celltraces.readers.movie import Movie

BASE_MB = 400  # Snakemake (200, and every cluster job has its own), interpreter and libraries of the script (75)
FRAMES = {
    "copy": 24,
    "segment": 60,
    "segment_learned": 190,  # 45, and 65 for each pixel of the network's picture; also where 1.4 is yet to be found
    "segment_learned_large": 340,
    "segment_cellpose": 400,
    "track": 60,  # 20 of them for the runs of equal pixels of 17 frames that hold 2,000 cells on 2048 x 2048
    "flat_field": 80,
    "flatten": 60,
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
    "segment_learned_large": 400,
    "segment_cellpose": 2800,  # PyTorch, and the network of cellpose 4; 1200 for those of 3
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
    # One thread takes 5 s at a scale of 1, and 28 s at 2, which may yet be found; without instructions for bytes more.
    "segment_learned": 3.5,
    "segment_learned_large": 7,
    "segment_cellpose": 5,  # CPU, diameter 30 px, one thread: 50 s, cellpose 4 some 230 s; a fourth at 60
    "track": 0.003,
    "flatten": 0.007,
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
    frames = FRAMES[stage] * megapixels(movie, fov)
    rows = ROW_BYTES.get(stage, 0) * _rows(movie, fov) / 1e6
    return math.ceil(BASE_MB + FIXED_MB.get(stage, 0) + frames + rows)


def runtime_min(stage: str, movie: Movie, fov: int) -> int:
    """Minutes for one job of `stage`."""
    of_spool = stage == "copy" and movie.format == "pyme"
    minutes = SPOOL_MINUTES if of_spool else MINUTES_PER_MEGAPIXEL[stage]
    return math.ceil(2 + minutes * megapixels(movie, fov) * movie.n_frames * len(movie.channels))


def trying_min(stage: str, movie: Movie, fovs: Iterable[int]) -> int:
    """Minutes for a preview of `stage` on one frame of each of these FOVs, which may name one more than once."""
    return math.ceil(10 + MINUTES_PER_MEGAPIXEL[stage] * sum(megapixels(movie, fov) for fov in fovs))


def merging(movie: Movie, fovs: Iterable[int]) -> Mapping[str, int]:
    """Megabytes and minutes to merge the traces of some FOVs: they are in memory together."""
    rows = sum(_rows(movie, fov) for fov in fovs)
    return {
        "mem_mb": math.ceil(BASE_MB + FIXED_MB["merge"] + ROW_BYTES["merge"] * rows / 1e6),
        "runtime": math.ceil(5 + MINUTES_PER_MILLION_ROWS * rows / 1e6),
    }


def megapixels(movie: Movie, fov: int) -> float:
    """Size of a frame of one FOV."""
    place: Mapping[str, Any] = movie.fovs[fov]
    return place["height"] * place["width"] / 1e6


def _rows(movie: Movie, fov: int) -> float:
    return CELLS_PER_MEGAPIXEL * megapixels(movie, fov) * movie.n_frames
