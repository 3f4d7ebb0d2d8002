"""Tell what a file's metadata say of how it was taken that makes its results wrong or not comparable: a line each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any, NamedTuple

from celltraces.config.selection import spell_fovs
from celltraces.metadata import same_exposure
from celltraces.planning.channels import known_pixel_size_um
from celltraces.planning.dataset import Dataset
from celltraces.planning.input_summary import many
from celltraces.results.overlapping_fovs import Overlap, overlaps

WIDEST_MARGIN = 0.25  # of a side of the FOV: a larger border_margin leaves too little to be advised


class Exposure(NamedTuple):
    """A FOV that is exposed otherwise than the first one (`frame` None), or than before from a frame on; in ms."""

    fov: int
    frame: int | None
    channel: int
    ms: float
    usual_ms: float


def overlaps_of(config: Mapping[str, Any], dataset: Dataset) -> list[Overlap]:
    """Pairs of processed FOVs that count cells of the same place, whatever their share."""
    places = {fov: dataset.movie.fovs[fov] for fov in dataset.fovs}
    return overlaps(places, known_pixel_size_um(config, dataset), config["params"]["border_margin"])


def other_exposures(dataset: Dataset) -> list[Exposure]:
    """Fluorescence of processed FOVs that was exposed otherwise: of each FOV and channel what differs first."""
    found = []
    for channel in dataset.fl:
        changes = {fov: dataset.movie.fovs[fov]["exposures_ms"][channel] for fov in dataset.fovs}
        known = {fov: of_fov for fov, of_fov in changes.items() if of_fov}
        if not known:
            continue
        usual = next(iter(known.values()))[0][1]
        for fov, of_fov in known.items():
            begin = of_fov[0][1]
            if not same_exposure(begin, usual):
                found.append(Exposure(fov, None, channel, begin, usual))
            if len(of_fov) > 1:
                frame, ms = of_fov[1]
                found.append(Exposure(fov, int(frame), channel, ms, begin))
    return found


def lines_on_acquisition(config: Mapping[str, Any], datasets: Mapping[str, Dataset], tracing: bool) -> Iterator[str]:
    """A line for each dataset whose FOVs overlap or are exposed differently, and for pairs of datasets that are."""
    for dataset in datasets.values():
        if tracing:
            yield from _overlapping(config, dataset)
        yield from _exposed_otherwise(dataset)
        yield from _no_squares(dataset)
    for one, other in combinations(datasets.values(), 2):
        yield from _exposures_differ(one, other)
        yield from _depths_differ(one, other)


def _overlapping(config: Mapping[str, Any], dataset: Dataset) -> Iterator[str]:
    found = [pair for pair in overlaps_of(config, dataset) if pair.share > config["params"]["qc_overlap"]]
    if not found:
        return
    most = max(found, key=lambda pair: pair.share)
    others = f" ({many(len(found) - 1, 'other pair')} less)" if len(found) > 1 else ""
    margin = max(pair.margin_px for pair in found)
    side = min(min(dataset.movie.fovs[fov][key] for key in ("height", "width")) for fov in dataset.fovs)
    remedy = f", or set border_margin to {margin} px" if margin <= WIDEST_MARGIN * side else ""
    yield (
        f"{dataset.name}: FOVs {most.fov} and {most.other} overlap, by the places of the stage in the file: cells in "
        f"{100 * most.share:.2g} % of what counts of them{others} are counted twice; leave FOVs out by `fovs`{remedy}"
    )


def _no_squares(dataset: Dataset) -> Iterator[str]:
    """Pixels that are higher than wide, or the other way round."""
    width, height = dataset.movie.pixel_size_um, dataset.movie.pixel_height_um
    if width and height:
        yield (
            f"{dataset.name}: pixels are {width:.4g} um wide and {height:.4g} um high, says {dataset.path}; what is "
            "told in um takes them for squares of their width, and shapes are those of squeezed cells: scale the "
            "images to square pixels"
        )


def _exposed_otherwise(dataset: Dataset) -> Iterator[str]:
    found = other_exposures(dataset)
    for channel in dict.fromkeys(row.channel for row in found):
        rows = [row for row in found if row.channel == channel]
        first, fovs = rows[0], sorted({row.fov for row in rows})
        what = f"{dataset.name}: channel {channel} {dataset.movie.channels[channel]!r} is exposed "
        if first.frame is None:
            what += f"{first.ms:g} ms in FOV {first.fov} and {first.usual_ms:g} ms in others"
        else:
            what += f"{first.ms:g} ms from frame {first.frame} of FOV {first.fov} on and {first.usual_ms:g} ms before"
        more = f" (FOVs {spell_fovs(fovs)} are affected)" if len(fovs) > 1 else ""
        yield f"{what}, says the file{more}: intensities cannot be compared as they are; divide them by the exposures"


def _exposures_differ(one: Dataset, other: Dataset) -> Iterator[str]:
    for channel in one.fl:
        ms = [next((of[channel][0][1] for of in _exposures(each) if of[channel]), None) for each in (one, other)]
        if None not in ms and not same_exposure(*ms):
            yield (
                f"channel {channel} is exposed {ms[0]:g} ms in {one.name} and {ms[1]:g} ms in {other.name}, say the "
                "files: intensities of these datasets cannot be compared as they are; divide them by the exposures"
            )


def _depths_differ(one: Dataset, other: Dataset) -> Iterator[str]:
    """Files of 8 and of 16 bits, as where one was exported: a count is not the same light in both."""
    if one.fl and one.movie.dtype != other.movie.dtype:
        yield (
            f"pixels are {one.movie.dtype} in {one.name} and {other.movie.dtype} in {other.name}: a count is "
            "hardly the same light in both, so that intensities cannot be compared; export both with the same depth"
        )


def _exposures(dataset: Dataset) -> Iterator[list[list[list[float]]]]:
    yield from (dataset.movie.fovs[fov]["exposures_ms"] for fov in dataset.fovs)
