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

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from evaluation.overlaps import Score, score
from evaluation.pictures import HALOS, Pair, disks, of_folder

from celltraces.segmentation import logstd
from demo.simulate import simulate


def of_demo() -> list[Pair]:
    experiment = simulate()
    return [(experiment.plane(0, frame, 0), experiment.labels(0, frame)) for frame in range(0, 36, 6)]


def lines(name: str, pairs: list[Pair]) -> Iterator[str]:
    for outline in ("halo", "cell"):
        cpu, scores = _measured(
            pairs, lambda image, outline=outline: logstd.segment_frame(image, logstd_outline=outline)
        )
        jaccard, area = (np.concatenate(part) for part in list(zip(*scores, strict=True))[:2])
        right, found, together, missed = (sum(part) for part in list(zip(*scores, strict=True))[4:])
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
