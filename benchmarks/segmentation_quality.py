"""How well `logstd` segments: outlines on the cells beside outlines outside of their halos, set of images by set.

Usage: python benchmarks/segmentation_quality.py [FOLDER ...]

A folder holds pairs NN_phase.tif and NN_cells.png (labels, 0 = background). Besides, cells are simulated: those of the
demo, and disks with halos of several widths.

SEG as in the Cell Tracking Challenge: the mean, over all true cells, of the intersection over union with the object
that covers more than half of the cell, 0 where there is none. F1: of pairs with more than half in common. area: median
of found / true, of cells that have an object of their own.
"""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from celltraces.segmentation import logstd
from demo.simulate import simulate

Pair = tuple[np.ndarray, np.ndarray]  # (H, W) image and true labels


class Score(NamedTuple):
    """Of one frame. jaccard: (N,) of the true cells. area: found / true. The rest are numbers of cells or objects."""

    jaccard: np.ndarray
    area: np.ndarray
    right: int
    found: int
    together: int
    missed: int


def score(labels: np.ndarray, truth: np.ndarray) -> Score:
    width = int(labels.max()) + 1
    pairs = np.bincount(
        truth.ravel().astype(np.int64) * width + labels.ravel(), minlength=(int(truth.max()) + 1) * width
    )
    shared = pairs.reshape(-1, width)
    true_area, area = shared.sum(axis=1), shared.sum(axis=0)
    cells = np.flatnonzero(true_area[1:]) + 1
    shared, true_area = shared[cells], true_area[cells]
    shared[:, 0] = 0
    best = shared.argmax(axis=1)
    most = shared[np.arange(cells.size), best]
    union = true_area + area[best] - most
    matched = 2 * most > true_area
    cells_of = np.bincount(best[matched], minlength=width)
    alone = matched & (cells_of[best] == 1)
    return Score(
        jaccard=np.where(matched, most / union, 0),
        area=area[best][alone] / true_area[alone],
        right=int((shared > (true_area[:, None] + area - shared) / 2).any(axis=1).sum()),
        found=int((area[1:] > 0).sum()),
        together=int(cells_of[cells_of > 1].sum()),
        missed=int((~matched).sum()),
    )


def of_folder(folder: Path) -> list[Pair]:
    import tifffile

    paths = sorted(folder.glob("*_phase.tif"))
    return [
        (tifffile.imread(path), cv2.imread(str(path.with_name(path.name[:-9] + "cells.png")), cv2.IMREAD_UNCHANGED))
        for path in paths
    ]


def of_demo() -> list[Pair]:
    experiment = simulate()
    return [(experiment.plane(0, frame, 0), experiment.labels(0, frame)) for frame in range(0, 36, 6)]


def disks(seed: int, strength: float, away: float, width: float, noise: float) -> Pair:
    """Nine dark, granular disks with a halo that is brightest `away` px outside the edge, 300 x 300."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:300, :300]
    image, labels = np.ones((300, 300)), np.zeros((300, 300), np.int32)
    grain = cv2.GaussianBlur(rng.standard_normal((300, 300)), (0, 0), 1.2)
    for cell in range(9):
        cy, cx = (100 * part + 50 + rng.uniform(-6, 6) for part in divmod(cell, 3))
        beyond = np.hypot(y - cy, x - cx) - rng.uniform(11, 16)
        image += 0.1 * (0.6 * grain / grain.std() - 1) / (1 + np.exp(np.clip(beyond / 0.7, -50, 50)))
        image += 0.1 * strength * np.exp(-0.5 * ((beyond - away) / width) ** 2)
        labels[beyond < 0] = cell + 1
    image = 8000 * (cv2.GaussianBlur(image, (0, 0), 0.7) + noise * rng.standard_normal((300, 300)))
    return np.rint(image).astype(np.uint16), labels


HALOS = {
    "thin halos": {"strength": 0.5, "away": 2, "width": 1.5, "noise": 0.01},
    "halos": {"strength": 1, "away": 3.5, "width": 2.5, "noise": 0.005},
    "strong halos": {"strength": 2, "away": 3.5, "width": 2.5, "noise": 0.005},
    "halos in noise": {"strength": 1, "away": 3, "width": 2.5, "noise": 0.03},
}


def lines(name: str, pairs: list[Pair]) -> Iterator[str]:
    for outline in ("halo", "cell"):
        cpu, scores = _measured(
            pairs, lambda image, outline=outline: logstd.segment_frame(image, logstd_outline=outline)
        )
        jaccard, area = (np.concatenate(part) for part in list(zip(*scores, strict=True))[:2])
        right, found, together, missed = (sum(part) for part in list(zip(*scores, strict=True))[2:])
        yield (
            f"{name:16} {outline:5} {jaccard.mean():6.3f} {2 * right / (found + jaccard.size):6.3f} "
            f"{np.median(area) if area.size else np.nan:6.2f} {together:9} {missed:7} "
            f"{jaccard.size:6} {found:6} {cpu:9.1f}"
        )


def _measured(pairs: list[Pair], segment: Callable[[np.ndarray], np.ndarray]) -> tuple[float, list[Score]]:
    """CPU milliseconds per frame, and the scores."""
    segment(pairs[0][0])
    start = time.process_time()
    found = [segment(image) for image, _ in pairs]
    cpu = 1000 * (time.process_time() - start) / len(pairs)
    return cpu, [score(labels, truth) for labels, (_, truth) in zip(found, pairs, strict=True)]


def main(folders: list[str]) -> None:
    print("set              outline  SEG     F1   area  together  missed  cells  found  ms/frame")
    sets = {Path(folder).name: of_folder(Path(folder)) for folder in folders}
    sets |= {"demo": of_demo()}
    sets |= {name: [disks(seed, **halo) for seed in range(3)] for name, halo in HALOS.items()}
    for name, pairs in sets.items():
        for line in lines(name, pairs):
            print(line, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
