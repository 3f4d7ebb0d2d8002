"""What comes from calibration files: the size of a spot from a PSF, the shifts of channels from a shift field."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyama import shifts
from pyama.apart import call
from pyama.errors import PyamaError
from pyama.files import is_file
from pyama.planning.channels import channel_index, channels_of, pixel_size_um, shape
from pyama.planning.dataset import Dataset

PIXEL_TOLERANCE = 0.01  # by which the pixels of a PSF may differ from the movie's


def spot_size(config: Mapping[str, Any], datasets: Mapping[str, Dataset]) -> dict[str, float]:
    """params.particle_sigma as the point spread function says it, if there is one. Raises PyamaError."""
    path = config["params"]["psf"]
    if path is None:
        return {}
    try:
        spread = call("pyama.psf:read_spread", path)
        for dataset in datasets.values():
            size = pixel_size_um(config, dataset)
            if abs(spread["pixel_size_um"] / size - 1) > PIXEL_TOLERANCE:
                raise PyamaError(
                    f"{path!r} has pixels of {spread['pixel_size_um']:g} um, {dataset.path!r} of {size:g} um; a PSF is "
                    "used at its own magnification"
                )
    except PyamaError as error:
        raise PyamaError(f"params.psf: {error}") from None
    return {"particle_sigma": spread["sigma_px"]}


def shifts_of(config: Mapping[str, Any], datasets: Mapping[str, Dataset]) -> dict[int, shifts.Shift]:
    """The shift field of each fluorescence channel that has one. Raises PyamaError for the first mistake."""
    found: dict[int, shifts.Shift] = {}
    _, fl = channels_of(datasets)
    for written, path in sorted(config["chroma"].items()):
        key = f"chroma.{written}"
        dataset = next(iter(datasets.values()))
        channel = channel_index(int(written) if written.isdigit() else written, dataset.movie, key, dataset.path)
        if channel not in fl:
            raise PyamaError(
                f"{key}: channel {channel} is not among channels.fl, which are moved onto the phase contrast"
            )
        if not is_file(path):
            raise PyamaError(
                f"{key}: the file {path!r} does not exist; `snakemake --cores 1 shift_field` makes one from beads"
            )
        if channel in found:
            raise PyamaError(f"{key}: channel {channel} is named twice; name every channel once")
        try:
            found[channel] = shifts.of_channel(_fields(path, config["allow_pickle_sf"]), channel, repr(path))
            for dataset in datasets.values():
                pixel_nm = 1000 * pixel_size_um(config, dataset)
                for height, width in sorted({tuple(shape(dataset, fov)[1:]) for fov in dataset.fovs}):
                    shifts.refuse_far(found[channel], (height, width), pixel_nm, repr(path))
        except PyamaError as error:
            raise PyamaError(f"{key}: {error}") from None
    return found


def _fields(path: str, allow_pickle: bool) -> shifts.Fields:
    """JSON is read here; another kind in a child, since the library for HDF5 may crash on a damaged file."""
    if shifts.is_json(path):
        return shifts.read_fields(Path(path))
    return shifts.Fields(**call("pyama.shifts:read_fields", path, {"allow_pickle": allow_pickle}))
