"""Read calibrations that the configuration names: point spread functions, shift fields and flat fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from celltraces.config.contradictions import ESTIMATE
from celltraces.errors import UserError
from celltraces.planning.channels import channel_index, channels_of, pixel_size_um, shape
from celltraces.planning.dataset import Dataset
from celltraces.pyme import shift_field
from celltraces.readers.child_process import call

# Why a section names fluorescence channels alone.
NEEDS_FL = {
    "chroma": "which are moved onto the phase contrast",
    "flat_field": "whose light is corrected",
}
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
                    f"{path!r} has pixels of {spread['pixel_size_um']:g} um, {dataset.path!r} of {size:g} um; give a "
                    "PSF with pixels of the movie's size"
                )
    except UserError as error:
        raise UserError(f"params.psf: {error}") from None
    return {"particle_sigma": spread["sigma_px"]}


def shifts_of(config: Mapping[str, Any], datasets: Mapping[str, Dataset]) -> dict[int, shift_field.Shift]:
    """The shift field of each fluorescence channel that has one. Raises UserError for the first mistake."""
    found: dict[int, shift_field.Shift] = {}
    for channel, path, key in _by_channel(config, "chroma", datasets):
        try:
            found[channel] = shift_field.of_channel(_fields(path, config["allow_pickle_sf"]), channel, repr(path))
            for dataset in datasets.values():
                pixel_nm = 1000 * pixel_size_um(config, dataset)
                for height, width in sorted({tuple(shape(dataset, fov)[1:]) for fov in dataset.fovs}):
                    shift_field.refuse_far(found[channel], (height, width), pixel_nm, repr(path))
        except UserError as error:
            raise UserError(f"{key}: {error}") from None
    return found


def flat_fields_of(config: Mapping[str, Any], datasets: Mapping[str, Dataset]) -> dict[int, str]:
    """The reference image of each fluorescence channel that has a flat field, or "estimate". Raises UserError."""
    found: dict[int, str] = {}
    for channel, source, key in _by_channel(config, "flat_field", datasets):
        found[channel] = source
        sizes = {(*shape(dataset, fov)[1:], dataset.path) for dataset in datasets.values() for fov in dataset.fovs}
        if source != ESTIMATE:
            try:
                size = call(
                    "celltraces.readers.reference_image:inspect_reference",
                    source,
                    {"offset": config["camera_offset"] or 0.0},
                )
            except UserError as error:
                raise UserError(f"{key}: {error}") from None
            for height, width, path in sorted(sizes):
                if (height, width) != (size["height"], size["width"]):
                    raise UserError(
                        f"{key}: {source!r} is of {size['height']} x {size['width']} px, the frames of {path!r} of "
                        f"{height} x {width}; a reference image is taken as the movie, with the same camera and binning"
                    )
        for dataset in datasets.values():
            if len({tuple(shape(dataset, fov)[1:]) for fov in dataset.fovs}) > 1:
                raise UserError(
                    f"{key}: the FOVs of {dataset.path!r} differ in size, and so have no flat field in common; "
                    "name those of one size under `fovs`, or leave out flat_field"
                )
    return dict(sorted(found.items()))


def _by_channel(
    config: Mapping[str, Any], section: str, datasets: Mapping[str, Dataset]
) -> Iterator[tuple[int, str, str]]:
    """(channel, what is written for it, key) of a section of the config that names fluorescence channels."""
    seen: set[int] = set()
    _, fl = channels_of(datasets)
    dataset = next(iter(datasets.values()))
    for written, value in sorted(config[section].items()):
        key = f"{section}.{written}"
        channel = channel_index(int(written) if written.isdigit() else written, dataset.movie, key, dataset.path)
        if channel not in fl:
            raise UserError(f"{key}: channel {channel} is not among channels.fl, {NEEDS_FL[section]}")
        if channel in seen:
            raise UserError(f"{key}: channel {channel} is named twice; name every channel once")
        seen.add(channel)
        yield channel, value, key


def _fields(path: str, allow_pickle: bool) -> shift_field.Fields:
    """JSON is read here; another kind in a child, since the library for HDF5 may crash on a damaged file."""
    if shift_field.is_json(path):
        return shift_field.read_fields(Path(path))
    return shift_field.Fields(**call("celltraces.pyme.shift_field:read_fields", path, {"allow_pickle": allow_pickle}))
