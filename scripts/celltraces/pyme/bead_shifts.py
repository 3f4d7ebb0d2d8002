"""Estimate by how much channels are shifted against each other, from pictures of beads."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from celltraces.pyme import shift_field

NEAR = 3.0  # px: as far from where it should be a bead may be to be the same
BIN = 4.0  # px: width of the bins in which the common shift is sought
FAR = 4.0  # standard deviations off the fit
FEWEST, MANY = 8, 40  # beads for a polynomial of the first degree, and of the third
MODEL = "lin3Model"
RAYLEIGH = 0.83  # median of the distance of two Gaussian errors, in roots of their mean square
ROUNDS = 20


def estimate_shift(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]], shape: Sequence[int], pixel_nm: float
) -> tuple[Any, ...]:
    """The shift of a channel from `pairs`, for each FOV the beads of the reference and of the channel, (n, 2) x, y px.

    `shape`: height and width. Returns the Shift, the number of beads used, and the root of their mean square distance
    from the reference after it, in px; None if too few match.
    """
    beads = np.concatenate([channel for _, channel in pairs])
    predicted = beads + _common_shift(pairs, max(shape) / 2)
    matched = 0
    for _ in range(ROUNDS):
        at, targets = _match(pairs, predicted)
        if len(at) < FEWEST:
            return None
        degree = 3 if len(at) >= MANY and _everywhere(beads[at], shape) else 1
        shift, distance, used = _fit(degree, beads[at], targets, pixel_nm)
        predicted = beads + _moved(shift, beads, pixel_nm)
        if used == matched:
            break
        matched = used
    return shift, matched, distance


def _common_shift(pairs: Sequence[tuple[np.ndarray, np.ndarray]], farthest: float) -> np.ndarray:
    """The shift (x, y) in px that lays most beads of the channel near some of the reference."""
    differences = np.concatenate([(reference[:, None] - channel[None]).reshape(-1, 2) for reference, channel in pairs])
    differences = differences[(np.abs(differences) < farthest).all(axis=1)]
    if not len(differences):
        return np.zeros(2)
    edges = np.arange(-farthest - BIN, farthest + 2 * BIN, BIN)
    counts = np.histogram2d(*differences.T, bins=(edges, edges))[0]
    # two bins each way, since the shift may lie on an edge
    four = counts[:-1, :-1] + counts[1:, :-1] + counts[:-1, 1:] + counts[1:, 1:]
    centre = edges[np.array(np.unravel_index(four.argmax(), four.shape)) + 1]
    near = (np.abs(differences - centre) < BIN).all(axis=1)
    return np.median(differences[near], axis=0)


def _match(pairs: Sequence[tuple[np.ndarray, np.ndarray]], predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Beads of the channel (rows of `predicted`, all FOVs) and of the reference that are nearest to each other."""
    from scipy.spatial import cKDTree

    rows, targets, first = [], [], 0
    for reference, channel in pairs:
        places = predicted[first : first + len(channel)]
        if len(reference) and len(channel):
            distance, to = cKDTree(reference).query(places)
            back = cKDTree(places).query(reference)[1]
            same = np.flatnonzero((distance < NEAR) & (back[to] == np.arange(len(places))))
            rows.append(first + same)
            targets.append(reference[to[same]])
        first += len(channel)
    return np.concatenate([*rows, np.zeros(0, int)]), np.concatenate([*targets, np.zeros((0, 2))])


def _everywhere(beads: np.ndarray, shape: Sequence[int]) -> bool:
    """Whether there are beads in each ninth of the image: beyond them a polynomial of the third degree runs away."""
    ninth = (beads[:, 1] * 3 // shape[0]).astype(int) * 3 + (beads[:, 0] * 3 // shape[1]).astype(int)
    return len(np.unique(ninth)) == 9


def _fit(degree: int, beads: np.ndarray, targets: np.ndarray, pixel_nm: float) -> tuple[dict[str, Any], float, int]:
    """Least squares, repeated without beads that are far off: shift, root mean square distance, beads used."""
    powers = {name: power for name, power in shift_field.POWERS[MODEL].items() if sum(power) <= degree}
    x, y = beads.T * pixel_nm / shift_field.SCALE_NM
    terms = np.stack([x**of_x * y**of_y for of_x, of_y in powers.values()], axis=1)
    wanted = (targets - beads) * pixel_nm
    good = np.ones(len(beads), bool)
    for _ in range(ROUNDS):
        found = np.linalg.lstsq(terms[good], wanted[good], rcond=None)[0]
        off = np.hypot(*(wanted - terms @ found).T)
        limit = FAR * np.median(off[good]) / RAYLEIGH + 0.01 * pixel_nm
        if np.array_equal(good, off <= limit) or np.count_nonzero(off <= limit) < FEWEST:
            break
        good = off <= limit
    zero = dict.fromkeys(shift_field.POWERS[MODEL], 0.0)
    dx, dy = ({**zero, **dict(zip(powers, map(float, column), strict=True))} for column in found.T)
    distance = float(np.sqrt((off[good] ** 2).mean())) / pixel_nm
    return {"model": MODEL, "x": dx, "y": dy}, distance, int(good.sum())


def _moved(shift: shift_field.Shift, beads: np.ndarray, pixel_nm: float) -> np.ndarray:
    return np.stack(shift_field.shift_at(shift, *(beads.T * pixel_nm)), axis=1) / pixel_nm
