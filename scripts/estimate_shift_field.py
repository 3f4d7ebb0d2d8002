"""Estimate shift fields between channels from pictures of beads, on request before a run.

Beads are found and located in every channel, those of a channel are matched with those of the reference, and their
displacements fitted by polynomials of position (PYME's lin3Model): of the third degree where there are beads enough all
over the image, else of the first. Beads far off the fit were matched wrongly and are left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from celltraces.errors import UserError
from celltraces.files import write_text
from celltraces.pyme import shift_field, spots, tiff
from celltraces.pyme.bead_shifts import FEWEST, estimate_shift
from celltraces.readers.movie_file import inspect_movie, open_movie
from celltraces.runs import job


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
            raise UserError(f"'{path}': its axes are {image.axes}; pictures of beads have channels, and Y and X")
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


def main(
    output: str,
    beads: str,
    *,
    reference: shift_field.Channel,
    channels: Sequence[shift_field.Channel] | None,
    bead_sigma: float,
    pyme: Mapping[str, Any],
    pixel_size_um: float | None,
) -> None:
    path = Path(beads)
    pictures = open_pictures(path, pyme)
    size = pictures.pixel_size_um or pixel_size_um
    if not size:
        raise UserError(f"shift_field.beads: '{path}' does not say how large a pixel is; set params.pixel_size_um")
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
        result = estimate_shift(list(zip(found[first], found[at], strict=True)), shape, 1000 * size)
        if result is None:
            raise UserError(
                f"shift_field.beads: '{path}': {counts[0]} beads in channel {first} and {counts[1]} in channel {at}, "
                f"of which fewer than {FEWEST} match; take pictures with more beads, or correct shift_field.bead_sigma"
            )
        fields[at], used, distance = result
        job.log.info("channel %d: %d of %d beads, %.3f px off after it", at, used, counts[1], distance)
    write_text(Path(output), shift_field.to_json(fields))


def _index(wanted: shift_field.Channel, names: Sequence[str], path: Path) -> int:
    at = names.index(wanted) if wanted in names else wanted
    if not isinstance(at, int) or at >= len(names):
        listed = ", ".join(f"{index}: {name}" for index, name in enumerate(names))
        raise UserError(f"shift_field: channel {wanted!r} is not in '{path}'; its channels are {listed}")
    return at


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(snakemake.output.field, **settings)
