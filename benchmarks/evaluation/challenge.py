"""Measures of the Cell Tracking Challenge, by py-ctcmetrics."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from celltraces.exports import ctc
from celltraces.labels.lineage import Division
from evaluation.movies import Movie

DIVISIONS = ("division recall", "division precision")
SHIFT = 1  # frames by which a division may be off


class _Stack:
    """Label images in memory that read like an array on disk. (T, H, W)."""

    def __init__(self, frames: Sequence[np.ndarray]) -> None:
        self.frames, self.shape = frames, (len(frames), *frames[0].shape)
        self.path, self.dtype, self.attributes = Path(), frames[0].dtype, {}

    def read(self, frame: int) -> np.ndarray:
        return self.frames[frame]


def of_movie(movie: Movie, tracked: Sequence[np.ndarray], divisions: Iterable[Division]) -> dict[str, float]:
    """SEG, DET, TRA, LNK, and recall and precision of divisions. tracked: T images (H, W) of the cells' numbers."""
    outlined = movie.reference is None or bool(movie.outlines)
    measures = [*(["SEG"] if outlined else []), "DET", "TRA", *(["LNK"] if _links(movie) else []), "BC"]
    found = _measured(movie, tracked, divisions, measures)
    right, wrong, missed = (found.get(f"{part}_div({SHIFT})", 0) for part in ("tp", "fp", "fn"))
    if right + missed:
        found["division recall"] = right / (right + missed)
    if right + wrong:
        found["division precision"] = right / (right + wrong)
    return {name: found[name] for name in (*measures, *DIVISIONS) if found.get(name) is not None}


def of_pictures(movie: Movie, labels: Sequence[np.ndarray]) -> dict[str, float]:
    """SEG and DET of pictures that have nothing to do with each other."""
    times = 1 if len(labels) > 1 else 2  # py-ctcmetrics needs two frames
    apart = Movie(_apart(movie.cells * times), divisions=[])
    found = _measured(apart, _apart([*labels] * times), [], ["SEG", "DET"])
    return {name: found[name] for name in ("SEG", "DET")}


def _links(movie: Movie) -> bool:
    """Whether any cell is there in two frames after each other: else there are no links to find."""
    numbers = [set(np.unique(cells[cells > 0]).tolist()) for cells in movie.cells]
    return bool(movie.divisions) or any(before & after for before, after in zip(numbers, numbers[1:], strict=False))


def _apart(labels: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The same regions, with numbers of their own in each frame."""
    highest, found = 0, []
    for image in labels:
        numbers = np.unique(image)
        numbers = numbers[numbers > 0]
        new = np.zeros(int(image.max()) + 1, np.int64)
        new[numbers] = highest + 1 + np.arange(numbers.size)
        highest += numbers.size
        found.append(new[image])
    return found


def _measured(
    movie: Movie, tracked: Sequence[np.ndarray], divisions: Iterable[Division], measures: list[str]
) -> dict[str, float]:
    from ctc_metrics.scripts.evaluate import evaluate_sequence

    if not any(image.any() for image in tracked):  # which py-ctcmetrics cannot do
        return dict.fromkeys(("SEG", "DET", "TRA", "LNK"), 0.0)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()) as said:
        result = Path(folder, "result")
        ctc.write_folder(result, _Stack(tracked), _Stack(tracked), divisions)
        reference = movie.reference
        if reference is None:
            reference = _write_truth(Path(folder, "truth"), movie)
        found = evaluate_sequence(str(result / "01_RES"), str(reference), ["Valid", *measures], threads=1)
    if not found["Valid"]:
        raise ValueError(said.getvalue())
    return found


def _write_truth(path: Path, movie: Movie) -> Path:
    ctc.write_folder(path, _Stack(movie.cells), _Stack(movie.cells), movie.divisions or [])
    for folder, prefix in (("SEG", "man_seg"), ("TRA", "man_track")):
        (path / folder).mkdir()
        for mask in (path / "01_RES").glob("mask*.tif"):
            (path / folder / mask.name.replace("mask", prefix)).write_bytes(mask.read_bytes())
    (path / "01_RES/res_track.txt").rename(path / "TRA/man_track.txt")
    return path
