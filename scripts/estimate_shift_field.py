"""On request, before a run: the shift fields of channels, from pictures of beads that shine in all of them.

Beads are found and located in every channel, those of a channel are matched with those of the reference, and their
displacements fitted by polynomials of position (PYME's lin3Model): of the third degree where there are beads enough all
over the image, else of the first. Beads far off the fit were matched wrongly and are left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from formats import tiff
from pyama import job, shifts, spots
from pyama.errors import PyamaError
from pyama.files import write_text
from pyama.microscopy import inspect_movie, open_movie

NEAR = 3.0  # px: as far from where it should be a bead may be to be the same
BIN = 4.0  # px: width of the bins in which the common shift is sought
FAR = 4.0  # standard deviations off the fit
FEWEST, MANY = 8, 40  # beads for a polynomial of the first degree, and of the third
MODEL = "lin3Model"
RAYLEIGH = 0.83  # median of the distance of two Gaussian errors, in roots of their mean square
ROUNDS = 20


class Pictures(NamedTuple):
    """Names of the channels, size of a pixel if the file says it, and the FOVs, each (C, H, W)."""

    channels: list[str]
    pixel_size_um: float | None
    fovs: Iterator[np.ndarray]


def open_pictures(path: Path, pyme: Mapping[str, Any]) -> Pictures:
    """Pictures of beads in an ND2, a CZI, a spool of PYME (frame 0, the highest value of all z planes), or a TIFF."""
    if path.suffix.lower() in tiff.ENDINGS:
        image = tiff.read_tiff(path)
        pixels, axes = image.pixels, image.axes
        for axis in [axis for axis in axes if axis in "TZ"]:
            at = axes.index(axis)
            pixels = pixels.max(axis=at) if axis == "Z" else pixels.take(0, axis=at)
            axes = axes.replace(axis, "")
        if len(axes) != 3:
            raise PyamaError(f"'{path}': its axes are {image.axes}; pictures of beads have channels, and Y and X")
        return Pictures([f"C{at}" for at in range(len(pixels))], image.voxel_um.get("x"), iter([pixels]))
    movie = inspect_movie(path, pyme)

    def read_fovs() -> Iterator[np.ndarray]:
        planes = [None] if movie.n_z == 1 else list(range(movie.n_z))
        channels = range(len(movie.channels))
        with open_movie(path, pyme) as read:
            for fov in range(len(movie.fovs)):
                stack = [read(fov, 0, channels, plane) for plane in planes]
                if all(image is not None for images in stack for image in images):
                    yield np.max(stack, axis=0)

    return Pictures(movie.channels, movie.pixel_size_um, read_fovs())


def estimate(pairs: Sequence[tuple[np.ndarray, np.ndarray]], shape: Sequence[int], pixel_nm: float) -> tuple[Any, ...]:
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
    powers = {name: power for name, power in shifts.POWERS[MODEL].items() if sum(power) <= degree}
    x, y = beads.T * pixel_nm / shifts.SCALE_NM
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
    zero = dict.fromkeys(shifts.POWERS[MODEL], 0.0)
    dx, dy = ({**zero, **dict(zip(powers, map(float, column), strict=True))} for column in found.T)
    distance = float(np.sqrt((off[good] ** 2).mean())) / pixel_nm
    return {"model": MODEL, "x": dx, "y": dy}, distance, int(good.sum())


def _moved(shift: shifts.Shift, beads: np.ndarray, pixel_nm: float) -> np.ndarray:
    return np.stack(shifts.displacement(shift, *(beads.T * pixel_nm)), axis=1) / pixel_nm


def main(
    output: str,
    beads: str,
    reference: shifts.Channel,
    channels: Sequence[shifts.Channel] | None,
    bead_sigma: float,
    pyme: Mapping[str, Any],
    pixel_size_um: float | None,
) -> None:
    path = Path(beads)
    pictures = open_pictures(path, pyme)
    size = pictures.pixel_size_um or pixel_size_um
    if not size:
        raise PyamaError(f"shift_field.beads: '{path}' does not say how large a pixel is; set params.pixel_size_um")
    first = _index(reference, pictures.channels, path)
    others = [at for at in range(len(pictures.channels)) if at != first]
    if channels is not None:
        others = [_index(channel, pictures.channels, path) for channel in channels]
    found: dict[int, list[np.ndarray]] = {at: [] for at in (first, *others)}
    shape = (0, 0)
    for images in pictures.fovs:
        shape = images.shape[1:]
        for at, of_fovs in found.items():
            of_fovs.append(spots.find_beads(images[at], bead_sigma))
    fields = {}
    for at in others:
        counts = [sum(map(len, found[channel])) for channel in (first, at)]
        result = estimate(list(zip(found[first], found[at], strict=True)), shape, 1000 * size)
        if result is None:
            raise PyamaError(
                f"shift_field.beads: '{path}': {counts[0]} beads in channel {first} and {counts[1]} in channel {at}, "
                f"of which fewer than {FEWEST} match; take pictures with more beads, or correct shift_field.bead_sigma"
            )
        fields[at], used, distance = result
        job.log.info("channel %d: %d of %d beads, %.3f px off after it", at, used, counts[1], distance)
    write_text(Path(output), shifts.to_json(fields))


def _index(wanted: shifts.Channel, names: Sequence[str], path: Path) -> int:
    at = names.index(wanted) if wanted in names else wanted
    if not isinstance(at, int) or at >= len(names):
        listed = ", ".join(f"{index}: {name}" for index, name in enumerate(names))
        raise PyamaError(f"shift_field: channel {wanted!r} is not in '{path}'; its channels are {listed}")
    return at


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(snakemake.output.field, **settings)
