"""Compare how the light of a channel lies on the cells of all FOVs.

Pictures of what shines are laid over the cells of all FOVs, and tell whether light is that of another one, or
mirrored. How unevenly light fills cells is a channel's own: spots, nuclei, all of the cell. How much lies beside them
tells the focus.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from celltraces.results.light_checks import FEWEST_FOVS, SPREADS
from celltraces.results.light_on_cells import Sight

ANOTHERS = 0.4  # correlation of light and cells, at least; by chance it is 0.1, and of debris at most 0.34
NOT_ITS_OWN, APART = 0.25, 0.3  # of light with its own cells as they are, at most, and by which that is less


@dataclass(frozen=True)
class FovLight:
    """What all frames of a FOV show of a channel. beside: the usual light in the ring around a cell, as a share of its
    own, uneven: its standard deviation in a cell by its mean, both None where too few cells shine. pictures: by frame
    the cells and what shines, (h, w) uint8 each."""

    beside: float | None
    uneven: float | None
    pictures: Mapping[int, tuple[np.ndarray, np.ndarray]]


def of_fov(seen: Sequence[Sight | None]) -> FovLight:
    """What is left of what each frame shows, for the comparison of FOVs."""
    known = [one for one in seen if one is not None]
    usual = []
    for name in ("beside", "uneven"):
        values = [value for one in known if (value := getattr(one, name)) is not None]
        usual.append(float(np.median(values)) if values else None)
    pictures = {frame: one.pictures for frame, one in enumerate(seen) if one is not None and one.pictures is not None}
    return FovLight(*usual, pictures)


def blurred_fovs(fovs: Mapping[int, FovLight], limit: float) -> Iterator[tuple[int, float]]:
    """FOVs in which more light lies beside the cells than in the others, by `limit` or more: how much more."""
    levels = {fov: one.beside for fov, one in fovs.items() if one.beside is not None}
    if len(levels) < FEWEST_FOVS:
        return
    usual = float(np.median([*levels.values()]))
    spread = 1.4826 * float(np.median([abs(level - usual) for level in levels.values()]))
    struck = {fov: level - usual for fov, level in levels.items() if level - usual > max(limit, SPREADS * spread)}
    if 4 * len(struck) <= len(levels):
        yield from struck.items()


def on_cells_of_others(fovs: Mapping[int, FovLight]) -> Iterator[tuple[int, int]]:
    """FOVs of a channel whose light is not on their own cells but on those of another one, and which.

    In all frames of which pictures were kept and in which light is on any cells.
    """
    frames = sorted({frame for of in fovs.values() for frame in of.pictures})
    alike = []
    for frame in frames:
        pairs = [of.pictures.get(frame) for of in fovs.values()]
        cells, light = (_standard([pair[kind] if pair else None for pair in pairs]) for kind in (0, 1))
        alike.append(light @ cells.T)  # row: light, column: cells
    if not alike:
        return
    of_frames = np.array(alike)
    names = list(fovs)
    for at, fov in enumerate(names):
        telling = of_frames[of_frames[:, at].max(axis=1) >= ANOTHERS, at]
        other = _best(telling, at)
        if other is not None:
            yield fov, names[other]


def turned(fovs: Mapping[int, FovLight]) -> dict[int, tuple[bool, int]]:
    """FOVs whose light is on their own cells if it is turned or mirrored, and on no cells as it is, by FOV.

    Whether the light is mirrored (left and right exchanged), and by how many degrees it is then turned, against the
    clock.
    """
    found = {}
    for fov, of in fovs.items():
        alike = []  # by frame and way to lay light over cells
        for cells, light in of.pictures.values():
            ways = [np.rot90(seen, quarter) for seen in (cells, cells[:, ::-1]) for quarter in range(4)]
            rows = _standard([light, *(way if way.shape == light.shape else None for way in ways)])
            alike.append(rows[1:] @ rows[0])
        best = _best(np.array([values for values in alike if max(values) >= ANOTHERS]), 0)
        if best is not None:
            found[fov] = (best >= 4, 90 * (best % 4))
    return found


def _best(alike: np.ndarray, own: int) -> int | None:
    """The place other than `own` at which light is on cells in all frames; alike (frames, places): correlations."""
    if not len(alike):
        return None
    best = int(alike.min(axis=0).argmax())
    apart = (alike[:, best] - alike[:, own]).min()
    return best if alike[:, best].min() >= ANOTHERS and alike[:, own].max() <= NOT_ITS_OWN and apart >= APART else None


def _standard(pictures: Sequence[np.ndarray | None]) -> np.ndarray:
    """Pictures as rows (n, pixels) float32 of mean 0 and length 1; 0 where there is none, or not the usual shape."""
    shapes = [one.shape for one in pictures if one is not None]
    shape = max(sorted(set(shapes)), key=shapes.count, default=(1, 1))
    rows = np.zeros((len(pictures), shape[0] * shape[1]), np.float32)
    for row, one in zip(rows, pictures, strict=True):
        if one is not None and one.shape == shape:
            row[:] = (one - one.mean(dtype=np.float32)).ravel()
    lengths = np.sqrt((rows**2).sum(axis=1, keepdims=True))
    return rows / np.where(lengths > 0, lengths, 1)
