"""How well `logstd` segments frames that are altered as another microscope, or another day, would alter them.

Usage: python benchmarks/altered_frames.py FOLDER

The folder holds pairs NN_phase.tif and NN_cells.png (labels, 0 = background). Each alteration leaves the truth as it
is, or moves it with the frame; where sizes change, `min_object_size` and `max_object_size` change with the areas.
Figures are those of `make evaluate`.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from evaluation.overlaps import score
from evaluation.pictures import of_folder

from celltraces.segmentation import logstd

NEAREST = cv2.INTER_NEAREST_EXACT
LIGHT: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "as it is": lambda image, _: image,
    "shifted by 0.5 px": lambda image, _: cv2.warpAffine(
        image, np.float32([[1, 0, 0.5], [0, 1, 0.5]]), image.shape[::-1], None, cv2.INTER_CUBIC, cv2.BORDER_REFLECT
    ),
    "blur of 0.7 px": lambda image, _: cv2.GaussianBlur(image, (0, 0), 0.7, borderType=cv2.BORDER_REFLECT),
    "noise of 0.05 SD": lambda image, rng: image + rng.normal(0, 0.05 * image.std(), image.shape),
    "noise of 0.1 SD": lambda image, rng: image + rng.normal(0, 0.1 * image.std(), image.shape),
    "8 bit": lambda image, _: np.rint(np.clip((image - 1) / 257, 0, 255)),
    "light from one side, 20 %": lambda image, _: 0.9 * image * np.linspace(0.9, 1.1, image.shape[1]),
}  # of counts (H, W) float32
PLACE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mirrored, left to right": lambda image: image[:, ::-1],
    "mirrored, top to bottom": lambda image: image[::-1],
    "transposed": lambda image: image.T,
    "turned by 90 degrees": np.rot90,
    "without its first 3 rows and 5 columns": lambda image: image[3:, 5:],
}  # of a frame and its truth, (H, W)


def line(name: str, frames: list[tuple[np.ndarray, np.ndarray]], times: float = 1.0) -> str:
    sizes = {"min_object_size": round(50 * times**2), "max_object_size": round(10000 * times**2)}
    counts = [np.ascontiguousarray(np.clip(np.rint(image), 0, 65535).astype(np.uint16)) for image, _ in frames]
    scores = [score(logstd.segment_frame(a, **sizes), t[1]) for a, t in zip(counts, frames, strict=True)]
    jaccard, area = (np.concatenate([getattr(one, of) for one in scores]) for of in ("jaccard", "area"))
    f1 = 2 * sum(one.right for one in scores) / (sum(one.found for one in scores) + jaccard.size)
    return f"| {name} | {jaccard.mean():.3f} | {f1:.3f} | {np.median(area):.2f} |"


def main(folder: str) -> None:
    pairs = [(image.astype(np.float32), truth) for image, truth in of_folder(Path(folder))]
    print("| frames | SEG | F1 | area |\n|---|---|---|---|")
    for name, alter in LIGHT.items():
        rng = np.random.default_rng(1)
        print(line(name, [(alter(image, rng), truth) for image, truth in pairs]), flush=True)
    for name, move in PLACE.items():
        print(line(name, [(move(image), move(truth)) for image, truth in pairs]), flush=True)
    for times in (0.8, 0.9, 1.1, 1.25):
        how = cv2.INTER_AREA if times < 1 else cv2.INTER_CUBIC
        sides = dict.fromkeys(("fx", "fy"), times)
        frames = [
            (
                cv2.resize(image, None, **sides, interpolation=how),
                cv2.resize(truth, None, **sides, interpolation=NEAREST),
            )
            for image, truth in pairs
        ]
        print(line(f"{times} times as large", frames, times), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
