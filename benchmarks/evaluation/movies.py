"""Movies with their truth: simulated ones, folders of annotated pictures, and of the Cell Tracking Challenge."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from celltraces.errors import UserError
from celltraces.labels.lineage import Division
from demo.simulate import COUNTS_PER_ELECTRON, simulate
from evaluation import flat_cells, label_movies, phase_objects
from evaluation.dividing import KINDS, TO_SEGMENT_SMALL
from evaluation.linking import movement
from evaluation.phase_contrast import LOOKS, draw
from evaluation.pictures import HALOS, disks, of_folder, read_plane

SIDE = 384  # px
N_FRAMES = 20  # of the movies for tracking
CONTRASTS = (0.5, 0.25, 0.15)  # of what cells add to the background, by that of the demo


@dataclass
class Movie:
    """A set to evaluate on.

    cells: T images (H, W), true numbers of the cells. images: T (H, W) uint16, or None, where labels alone are known.
    outlines: frame -> true outlines, where they are others than `cells`. divisions: None, if the frames are pictures
    that have nothing to do with each other. found: T images (H, W), what trackers are given, where it is other than
    `cells`. light: T (H, W), what leaves the cells, where they do not shine evenly. reference: a folder NN_GT of the
    Cell Tracking Challenge, where the truth is one.
    """

    cells: list[np.ndarray]
    images: list[np.ndarray] | None = None
    divisions: list[Division] | None = None
    found: list[np.ndarray] | None = None
    light: list[np.ndarray] | None = None
    outlines: dict[int, np.ndarray] = field(default_factory=dict)
    reference: Path | None = None

    @property
    def movement(self) -> Mapping[str, Sequence[Any]] | None:
        """Of the stage, as the workflow measures it in the pictures."""
        return None if self.images is None else movement(self.images)


# The sets, each drawn when it is asked for: name -> what draws it.
Sets = dict[str, Callable[[], Movie]]


def to_segment() -> Sets:
    """Cells of the demo, more and more densely, and with less and less contrast; disks with halos; dividing cells."""
    sets: Sets = {f"{n_cells} cells": partial(_demo_cells, n_cells) for n_cells in (15, 40, 70)}
    sets |= {f"contrast {contrast:g}": partial(_faint_cells, contrast) for contrast in CONTRASTS}
    sets |= {f"disks, {name}": partial(_disks, name) for name in HALOS}
    sets |= {f"divisions: {kind}": partial(_dividing_cells, kind) for kind in TO_SEGMENT_SMALL}
    return sets


def by_optics() -> Sets:
    """Large flat cells, and cells that delay light, by the optics of phase contrast; nobody looked at these seeds, nor
    chose anything by them."""
    sets: Sets = {f"flat cells, {name}": partial(_flat_cells, name) for name in flat_cells.LOOKS}
    sets |= {f"phase objects: {name}": partial(_phase_pictures, name) for name in phase_objects.PICTURES}
    sets |= {f"phase objects: {name}": partial(_phase_movie, name) for name in phase_objects.EVALUATED}
    return sets


def _demo_cells(n_cells: int) -> Movie:
    cells = simulate(n_fovs=1, n_frames=36, height=SIDE, width=SIDE, n_cells=n_cells, seed=21)
    return Movie(
        [cells.labels(0, frame) for frame in range(6)], [cells.plane(0, frame, 0) for frame in range(6)], divisions=[]
    )


def _faint_cells(contrast: float) -> Movie:
    cells = simulate(n_fovs=1, n_frames=36, height=SIDE, width=SIDE, n_cells=25, seed=22)
    rng = np.random.default_rng(23)
    images = []
    for frame in range(6):
        level = cells.background(0, frame, 0)
        image = level + contrast * (cells.noiseless(0, frame, 0) - level)
        noise = rng.standard_normal(image.shape) * np.sqrt(COUNTS_PER_ELECTRON * image)
        images.append(np.rint(image + noise).astype(np.uint16))
    return Movie([cells.labels(0, frame) for frame in range(6)], images, divisions=[])


def _disks(name: str) -> Movie:
    return _pictures_of(disks(seed, **HALOS[name]) for seed in range(3))


def _dividing_cells(kind: str) -> Movie:
    movie = label_movies.simulate(TO_SEGMENT_SMALL[kind], 2000)
    images = draw(movie.cells, movie.divisions, LOOKS["plain"], 2000)
    return Movie(list(movie.cells), images, _true_divisions(movie))


def _flat_cells(name: str) -> Movie:
    return _pictures_of(flat_cells.picture(flat_cells.LOOKS[name], seed) for seed in (100, 101))


def _phase_pictures(name: str) -> Movie:
    pictures = [phase_objects.simulate(phase_objects.PICTURES[name], seed) for seed in (2000, 2001)]
    return Movie(
        [picture.cells[0] for picture in pictures],
        [picture.images[0] for picture in pictures],
        light=[picture.light[0] for picture in pictures],
    )


def _phase_movie(name: str) -> Movie:
    movie = phase_objects.simulate(phase_objects.MOVIES[name], 2000)
    return Movie(movie.cells, movie.images, _true_divisions(movie), light=movie.light)


def _pictures_of(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> Movie:
    """Of pairs of a picture and its true outlines."""
    images, labels = zip(*pairs, strict=True)
    return Movie(list(labels), list(images))


def to_track() -> Sets:
    """True outlines of cells that lie still, drift, jump, are missed and divide."""
    still: dict[int, tuple[int, int]] = {}
    return {
        "still": partial(_seen, 60, still),
        "dense": partial(_seen, 220, still),
        "dense, a frame in 5": partial(_seen, 220, still, 5),
        "dense, a frame in 12": partial(_seen, 220, still, 12),
        "drift of 5 px per frame": partial(_seen, 60, dict.fromkeys(range(1, N_FRAMES), (0, 5))),
        "jump by 30 px": partial(_seen, 60, {9: (30, 0)}),
        "jump by half an image": partial(_seen, 60, {9: (0, 192)}),
        "dense, jump by 30 px": partial(_seen, 220, {9: (30, 0)}),
        **{f"{share:.0%} missed": partial(_missed, share) for share in (0.05, 0.15)},
        **{
            f"divisions: {kind}": partial(_dividing_outlines, kind)
            for kind in ("plain", "dense, touching cells run together", "all of it")
        },
    }


def _missed(share: float) -> Movie:
    movie = _seen(60, {})
    rng = np.random.default_rng(5)
    movie.found = [
        np.where(np.isin(labels, numbers[rng.random(numbers.size) < share]), 0, labels)
        for labels in movie.cells
        for numbers in [np.unique(labels)]
    ]
    return movie


def _dividing_outlines(kind: str) -> Movie:
    movie = label_movies.simulate(KINDS[kind], 2000)
    return Movie(list(movie.cells), None, _true_divisions(movie), list(movie.labels))


def _true_divisions(movie: label_movies.Movie | phase_objects.Movie) -> list[Division]:
    return [Division(mother, daughters, frame) for mother, daughters, frame in movie.divisions]


def _seen(n_cells: int, steps: Mapping[int, tuple[int, int]], every: int = 1) -> Movie:
    """Cells in a field twice as wide as the image, of which a stage that moves by `steps` {frame: (y, x)} shows a part.

    every: of the simulation's frames, one in so many is seen.
    """
    field_of_cells = simulate(n_fovs=1, n_frames=36 * every, height=2 * SIDE, width=2 * SIDE, n_cells=n_cells, seed=31)
    place, images, cells = np.array([SIDE // 2, SIDE // 2]), [], []
    for frame in range(N_FRAMES):
        place = place - steps.get(frame, (0, 0))
        window = np.s_[place[0] : place[0] + SIDE, place[1] : place[1] + SIDE]
        images.append(field_of_cells.plane(0, every * frame, 0)[window])
        cells.append(field_of_cells.labels(0, every * frame)[window].astype(np.uint16))
    return Movie(cells, images, divisions=[])


def annotated(folder: Path) -> Movie:
    """Pictures NN_phase.tif with outlines NN_cells.png. Raises UserError."""
    pairs = of_folder(folder)
    if not pairs:
        raise UserError(f"{str(folder)!r} has no pictures NN_phase.tif with outlines NN_cells.png")
    return _pictures_of(pairs)


def of_challenge(path: Path) -> dict[str, Movie]:
    """The sequences NN of a folder in the layout of the Cell Tracking Challenge, each by its name FOLDER/NN: images
    NN/t000.tif, truth in NN_GT.

    NN_GT/TRA holds man_track000.tif ... and man_track.txt, NN_GT/SEG man_seg000.tif of some frames. Sequences without
    NN_GT are left out, and said to be. Raises UserError.
    """
    references = sorted(folder for folder in path.glob("*_GT") if folder.is_dir())
    if not references:
        raise UserError(
            f"{str(path)!r} has no folder NN_GT; name a folder in the layout of the Cell Tracking Challenge: images in "
            "01/t000.tif, truth in 01_GT/TRA/man_track000.tif, 01_GT/TRA/man_track.txt and 01_GT/SEG/man_seg000.tif"
        )
    for folder in sorted(path.glob("[0-9][0-9]")):
        if folder.is_dir() and folder.with_name(f"{folder.name}_GT") not in references:
            print(f"{str(folder)!r} is left out: there is no {folder.name}_GT beside it", flush=True)
    names = [f"{path.resolve().name}/{reference.name[:-3]}" for reference in references]
    return {name: _sequence(reference, name) for name, reference in zip(names, references, strict=True)}


def _sequence(reference: Path, name: str) -> Movie:
    folders = {"t": reference.with_name(reference.name[:-3]), "man_track": reference / "TRA"}
    images, cells = (_pictures(folder, prefix) for prefix, folder in folders.items())
    outlines = _pictures(reference / "SEG", "man_seg")
    if not any(labels.any() for labels in outlines.values()):
        outlines = {}
    for frame in range(max([1, *images, *cells, *outlines]) + 1):
        for prefix, found in zip(folders, (images, cells), strict=True):
            if frame not in found:
                raise UserError(
                    f"{name}: {str(folders[prefix] / f'{prefix}{frame:03d}.tif')!r} is missing; frames are numbered "
                    "from 0, two or more, and each needs its image and its picture of true tracks"
                )
    sizes = {picture.shape for found in (images, cells, outlines) for picture in found.values()}
    if len(sizes) > 1:
        raise UserError(
            f"{name}: pictures are of several sizes (height, width), {', '.join(map(str, sorted(sizes)))} px; "
            "images, true tracks and outlines have to be of one"
        )
    divisions = _divisions(
        reference / "TRA/man_track.txt", {int(cell) for of in cells.values() for cell in np.unique(of)}
    )
    pictures = [images[frame].astype(np.uint16) for frame in sorted(images)]
    truth = [cells[frame] for frame in sorted(cells)]
    return Movie(truth, pictures, divisions, outlines=outlines, reference=reference)


def _divisions(path: Path, numbers: set[int]) -> list[Division]:
    """Of a file man_track.txt: lines "number first_frame last_frame parent". numbers: of the cells in the pictures."""
    try:
        text = path.read_text(encoding="ascii")
        lines = [tuple(map(int, line.split("\t" if "\t" in text else None))) for line in text.splitlines()]
        tracks = {number: (first, parent) for number, first, _, parent in lines}
    except FileNotFoundError:
        raise UserError(f"{str(path)!r} is missing") from None
    except ValueError:
        raise UserError(
            f"{str(path)!r}: each line has to be four whole numbers with spaces between them: the cell's, its first "
            "frame, its last one, and the number of its parent or 0"
        ) from None
    unknown = (numbers | {parent for _, parent in tracks.values()}) - tracks.keys() - {0}
    if unknown or not tracks:
        raise UserError(f"{str(path)!r} has no line for {f'cell {min(unknown)}' if unknown else 'any cell'}")
    daughters: dict[int, list[int]] = {}
    for number, (_, parent) in tracks.items():
        daughters.setdefault(parent, []).append(number)
    return [
        Division(parent, tuple(of), min(tracks[one][0] for one in of))
        for parent, of in daughters.items()
        if parent and len(of) > 1
    ]


def _pictures(folder: Path, prefix: str) -> dict[int, np.ndarray]:
    """Frame -> (H, W), of the files PREFIX000.tif of a folder. Raises UserError, for files of other names too, since
    py-ctcmetrics reads them all."""
    found = {}
    for file in sorted(folder.glob("*.tif")):
        match = re.fullmatch(rf"{prefix}_?(\d+)\.tif", file.name)
        if match is None:
            raise UserError(
                f"{str(file)!r}: files of this folder have to be named {prefix}000.tif, {prefix}001.tif, ..., one for "
                "each frame (sets of two dimensions alone are evaluated)"
            )
        found[int(match[1])] = read_plane(file)
    return found
