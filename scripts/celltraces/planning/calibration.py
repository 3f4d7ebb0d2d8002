"""Read calibrations that the configuration names: point spread functions and shift fields."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from celltraces.errors import UserError
from celltraces.files import is_file
from celltraces.planning.channels import channel_index, channels_of, pixel_size_um, shape
from celltraces.planning.dataset import Dataset
from celltraces.pyme import shift_field
from celltraces.readers.child_process import call

PIXEL_TOLERANCE = 0.01  # by which the pixels of a PSF may differ from the movie's


def spot_size(config: Mapping[str, Any], datasets: Mapping[str, Dataset]) -> dict[str, float]:
    """params.particle_sigma as the point spread function says it, if there is one. Raises UserError."""
    path = config["params"]["psf"]
    if path is None:
        return {}
    try:
        spread = call("celltraces.pyme.psf:read_spread", path)
        for dataset in datasets.values():
            size = pixel_size_um(config, dataset)
            if abs(spread["pixel_size_um"] / size - 1) > PIXEL_TOLERANCE:
                raise UserError(
                    f"{path!r} has pixels of {spread['pixel_size_um']:g} um, {dataset.path!r} of {size:g} um; a PSF is "
                    "used at its own magnification"
                )
    except UserError as error:
        raise UserError(f"params.psf: {error}") from None
    return {"particle_sigma": spread["sigma_px"]}


def shifts_of(config: Mapping[str, Any], datasets: Mapping[str, Dataset]) -> dict[int, shift_field.Shift]:
    """The shift field of each fluorescence channel that has one. Raises UserError for the first mistake."""
    found: dict[int, shift_field.Shift] = {}
    _, fl = channels_of(datasets)
    for written, path in sorted(config["chroma"].items()):
        key = f"chroma.{written}"
        dataset = next(iter(datasets.values()))
        channel = channel_index(int(written) if written.isdigit() else written, dataset.movie, key, dataset.path)
        if channel not in fl:
            raise UserError(
                f"{key}: channel {channel} is not among channels.fl, which are moved onto the phase contrast"
            )
        if not is_file(path):
            raise UserError(
                f"{key}: the file {path!r} does not exist; `snakemake --cores 1 shift_field` makes one from beads"
            )
        if channel in found:
            raise UserError(f"{key}: channel {channel} is named twice; name every channel once")
        try:
            found[channel] = shift_field.of_channel(_fields(path, config["allow_pickle_sf"]), channel, repr(path))
            for dataset in datasets.values():
                pixel_nm = 1000 * pixel_size_um(config, dataset)
                for height, width in sorted({tuple(shape(dataset, fov)[1:]) for fov in dataset.fovs}):
                    shift_field.refuse_far(found[channel], (height, width), pixel_nm, repr(path))
        except UserError as error:
            raise UserError(f"{key}: {error}") from None
    return found


def _fields(path: str, allow_pickle: bool) -> shift_field.Fields:
    """JSON is read here; another kind in a child, since the library for HDF5 may crash on a damaged file."""
    if shift_field.is_json(path):
        return shift_field.read_fields(Path(path))
    return shift_field.Fields(**call("celltraces.pyme.shift_field:read_fields", path, {"allow_pickle": allow_pickle}))
