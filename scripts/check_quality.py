"""Check a dataset and write qc.csv: one row per suspicious frame, cell or FOV.

A row is `fov, frame, check, value, limit`; `frame` is empty where the whole FOV is meant. An empty table is a good
one. Nothing is changed or left out because of a row. The checks look at what the stages left in their results, so that
they cost no second look at the pixels.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from celltraces import paths
from celltraces.files import write_text
from celltraces.labels import lineage
from celltraces.results.cell_checks import (
    check_channel_shift,
    check_cut_cells,
    check_hot_pixels,
    check_light_of_fovs,
    check_order,
    look_at_light,
)
from celltraces.results.cell_pixels import Places, places_of
from celltraces.results.light_by_cell import LightByCell, light_of_traces
from celltraces.results.light_of_fovs import FovLight
from celltraces.results.light_on_cells import Channel
from celltraces.results.quality import (
    Finding,
    Findings,
    as_csv,
    check_acquisition,
    check_cells,
    check_exchanged_fovs,
    check_exposure,
    check_flat_field,
    check_fovs,
    check_frames,
    check_left_out,
    check_light,
    check_noise,
    check_phase_contrast,
    check_pixel_size,
    check_place,
    check_speed,
    check_stacks,
    check_stage,
    check_times,
    check_traces,
    check_vignetting,
    check_visits,
)
from celltraces.runs import job
from celltraces.storage.cells import Get, get_array, open_store
from celltraces.storage.frames import Frames, open_frames


@dataclass(frozen=True)
class Limits:
    """The parameters of the config that say from when on something is a finding."""

    qc_saturation: float
    qc_brightness: float
    qc_contrast: float
    qc_interval: float
    qc_count: float
    qc_size: float
    qc_vanish: float
    qc_negative: float
    qc_exposure: float
    qc_light_drift: float
    qc_dropped: float
    qc_stage_shift: float
    qc_vignetting: float
    qc_flat_field: float
    qc_channel_shift: float
    qc_cell_saturation: float
    qc_hot_pixel: float
    qc_slowest: float
    qc_fastest: float
    qc_blur: float
    qc_odd_part: float
    qc_noise: float
    qc_overlap: float


class Cells(NamedTuple):
    """The N cells of a FOV in T frames: numbers (N,), pixels (N, T), 0 where absent, boxes (N, T, 4); their traces."""

    ids: np.ndarray
    areas: np.ndarray
    bboxes: np.ndarray
    traces: LightByCell


def main(
    output: str,
    *,
    frames: Mapping[int, Sequence[str]],
    cells: Mapping[int, str],
    traces: Mapping[int, str],
    labeled: Mapping[int, str],
    lineages: Mapping[int, str],
    backgrounds: Mapping[str, Sequence[str]],
    flat_fields: str | None = None,
    light: Mapping[str, Sequence[str]] | None = None,
    under_light: Mapping[str, Sequence[str]] | None = None,
    tracked: Mapping[int, str] | None = None,
    times_min: Mapping[str, Sequence[float]],
    times_assumed: Mapping[str, Sequence[tuple[str, float, float | None]]],
    senseless_stamps: Mapping[str, Sequence[int]],
    failed: Sequence[int],
    pixel_size_um: float | None,
    camera_offset: float | None,
    overlaps: Sequence[Sequence[float]],
    exposures: Sequence[Sequence[float | None]],
    **of_config: float,
) -> None:
    """light, under_light: by channel, as it is measured in cells and its background, where there are cells.

    labeled, tracked: labels of each frame, and those that stay with a cell. overlaps, exposures: what the file says of
    how it was taken (celltraces.planning.acquisition).
    """
    limits = Limits(**of_config)
    offset = camera_offset or 0.0
    found = [Finding(fov, None, "failed") for fov in failed]
    found += check_acquisition(overlaps, exposures, qc_overlap=limits.qc_overlap)
    opened = {fov: [open_frames(Path(array)) for array in arrays] for fov, arrays in frames.items()}
    seen: dict[str, dict[bytes, int]] = {}
    covered: dict[int, float] = {}
    places: dict[int, Places] = {}
    for fov, channels in opened.items():
        key = str(fov)
        found += check_times(fov, times_min[key], senseless_stamps[key], limits.qc_interval, times_assumed[key])
        found += _of_images(fov, channels, seen, limits)
        if fov in labeled:
            found += check_left_out(fov, open_frames(Path(labeled[fov])), qc_dropped=limits.qc_dropped)
        if fov in cells:
            with open_store(Path(cells[fov])) as get:
                arrays = (get_array(get, f"metadata/{name}")[0] for name in ("cell_ids", "areas", "bboxes"))
                of_fov = Cells(*arrays, light_of_traces(Path(traces[fov]).read_text("utf-8")))
                found += _of_light_in_cells(fov, channels, get, of_fov, limits)
            parents = [parent for parent, _ in lineage.read_table(Path(lineages[fov])).values()]
            found += _of_cells(fov, of_fov, parents, limits)
            places[fov] = places_of(of_fov.ids, of_fov.bboxes, of_fov.areas > 0)
            height, width = channels[0].shape[1:]
            covered[fov] = float(np.median(of_fov.areas.sum(axis=0))) / (height * width)
    if frames:
        found += check_pixel_size(min(frames), pixel_size_um)
        times = {fov: times_min[str(fov)] for fov in frames}
        found += check_visits(times)
        middles = {fov: cells_of.middles for fov, cells_of in places.items()}
        speeds = {"qc_slowest": limits.qc_slowest, "qc_fastest": limits.qc_fastest}
        found += check_speed(middles, times, pixel_size_um, **speeds)
    on_cells = _on_cells(labeled, tracked or {}, places, light or {}, under_light or {})
    of_light: dict[str, dict[int, FovLight]] = {}
    for fov, channels in on_cells.items():
        rows, whole = look_at_light(fov, channels, qc_blur=limits.qc_blur, qc_odd_part=limits.qc_odd_part)
        found += rows
        for name, one in whole.items():
            of_light.setdefault(name, {})[fov] = one
    found = _of_channels(found, opened, covered, of_light, offset, limits)
    found += _of_light_on_cells(labeled, on_cells, of_light, limits)
    if frames:
        found += _of_uneven_light(min(frames), backgrounds, flat_fields, offset, limits)
    write_text(Path(output), as_csv(found))
    job.log.info("%d findings in %d FOVs", len(found), len(frames) + len(failed))


def _of_images(fov: int, channels: Sequence[Frames], seen: dict[str, dict[bytes, int]], limits: Limits) -> Findings:
    """What the images of a FOV tell by themselves. seen: by channel the frames of earlier FOVs, see check_frames."""
    moved = list(check_stage(fov, channels, qc_stage_shift=limits.qc_stage_shift))
    yield from moved
    for array in channels:
        is_phase_contrast = paths.is_phase_contrast(_name(array))
        yield from check_frames(
            fov,
            array,
            seen.setdefault(_name(array), {}),
            qc_saturation=limits.qc_saturation,
            qc_brightness=limits.qc_brightness,
            qc_odd_part=limits.qc_odd_part,
            qc_contrast=limits.qc_contrast if is_phase_contrast else None,
        )
        if not is_phase_contrast:
            yield from check_exposure(fov, array, limits.qc_exposure)
            yield from check_place(fov, array, {row.frame for row in moved})


def _of_light_in_cells(fov: int, channels: Sequence[Frames], get: Get, cells: Cells, limits: Limits) -> Findings:
    """Light that is cut off in cells, and hot pixels in them; get: reads cells.zarr."""
    in_traces = set(map(int, cells.traces.cells))
    bboxes = cells.bboxes[np.isin(cells.ids, list(in_traces))]
    for array in channels:
        if not paths.is_phase_contrast(_name(array)):
            yield from check_cut_cells(
                fov,
                array,
                get,
                _channel_of(channels),
                in_traces,
                qc_saturation=limits.qc_saturation,
                qc_cell_saturation=limits.qc_cell_saturation,
            )
            yield from check_hot_pixels(fov, array, bboxes, cells.traces, qc_hot_pixel=limits.qc_hot_pixel)


def _of_cells(fov: int, cells: Cells, parents: Sequence[int], limits: Limits) -> Findings:
    """What the cells of a FOV and their traces tell; parents: cells that end since they divide."""
    yield from check_order(fov, cells.bboxes, cells.areas > 0)
    yield from check_cells(
        fov,
        cells.areas,
        np.isin(cells.ids, parents),
        qc_count=limits.qc_count,
        qc_size=limits.qc_size,
        qc_vanish=limits.qc_vanish,
    )
    yield from check_traces(
        fov, len(cells.ids), cells.traces, qc_negative=limits.qc_negative, qc_exposure=limits.qc_exposure
    )


def _of_channels(
    found: Sequence[Finding],
    opened: Mapping[int, Sequence[Frames]],
    covered: Mapping[int, float],
    of_light: Mapping[str, Mapping[int, FovLight]],
    offset: float,
    limits: Limits,
) -> list[Finding]:
    """What was found, and what the FOVs of each channel tell beside each other.

    covered: share of the field that cells cover, by FOV. of_light: on cells. offset: the camera's, in counts. A
    FOV whose channels are exchanged is not called exposed otherwise, or noisy, as well.
    """
    by_channel: dict[str, dict[int, Frames]] = {}
    for fov, channels in opened.items():
        for array in channels:
            by_channel.setdefault(_name(array), {})[fov] = array
    phase_contrast = next((arrays for name, arrays in by_channel.items() if paths.is_phase_contrast(name)), {})
    fluorescence = {name: arrays for name, arrays in by_channel.items() if not paths.is_phase_contrast(name)}
    rows = list(found)
    for name, arrays in by_channel.items():
        rows += check_fovs(arrays, qc_brightness=limits.qc_brightness)
        rows += check_noise(arrays, covered, qc_noise=limits.qc_noise)
        if name in fluorescence:
            limits_of_light = {"qc_exposure": limits.qc_exposure, "qc_light_drift": limits.qc_light_drift}
            rows += check_light(arrays, phase_contrast, covered, **limits_of_light, offset=offset)
        else:
            rows += check_phase_contrast(arrays)
        rows += check_stacks(arrays)
    uneven = {name: {fov: one.uneven for fov, one in of.items() if one.uneven} for name, of in of_light.items()}
    exchanged = list(check_exchanged_fovs(fluorescence, uneven, qc_exposure=limits.qc_exposure, offset=offset))
    named = {
        (row.fov, row.check.replace("exchanged_fov", other)) for row in exchanged for other in ("exposure_fov", "noise")
    }
    return [row for row in rows if (row.fov, row.check) not in named] + exchanged


def _on_cells(
    labeled: Mapping[int, str],
    tracked: Mapping[int, str],
    places: Mapping[int, Places],
    light: Mapping[str, Sequence[str]],
    under_light: Mapping[str, Sequence[str]],
) -> dict[int, dict[str, Channel]]:
    """The channels of light on cells, by FOV and name; see main."""
    tracks = {fov: open_frames(Path(array)) for fov, array in tracked.items()}
    found: dict[int, dict[str, Channel]] = {fov: {} for fov in tracks}
    for name, of_fovs in light.items():
        measured, under = _opened(labeled, of_fovs), _opened(labeled, under_light[name])
        for fov, regions in tracks.items():
            found[fov][name] = Channel(regions, measured[fov], under[fov], places[fov])
    return found


def _of_light_on_cells(
    labeled: Mapping[int, str],
    on_cells: Mapping[int, Mapping[str, Channel]],
    of_light: Mapping[str, Mapping[int, FovLight]],
    limits: Limits,
) -> Findings:
    """Channels whose light lies beside the segmented cells; FOVs with that of others, or out of focus."""
    labels = {fov: open_frames(Path(array)) for fov, array in labeled.items()}
    for name, of_fovs in of_light.items():
        light = {fov: of[name].light for fov, of in on_cells.items()}
        under = {fov: of[name].background for fov, of in on_cells.items()}
        yield from check_channel_shift(name, labels, light, under, qc_channel_shift=limits.qc_channel_shift)
        yield from check_light_of_fovs(name, of_fovs, qc_blur=limits.qc_blur)


def _of_uneven_light(
    fov: int, backgrounds: Mapping[str, Sequence[str]], flat_fields: str | None, offset: float, limits: Limits
) -> Findings:
    """Vignetting of channels without a flat field, and what flat fields leave; fov: the first one, which is named."""
    opened = {name: [open_frames(Path(array)) for array in of_fovs] for name, of_fovs in backgrounds.items()}
    described = json.loads(Path(flat_fields).read_text("utf-8")) if flat_fields else {}
    corrected = {
        paths.fl(int(channel)): (details["unexplained"], details["foreign"]) for channel, details in described.items()
    }
    for name, of_channel in opened.items():
        if name not in corrected:
            yield from check_vignetting(fov, name, of_channel, qc_vignetting=limits.qc_vignetting, offset=offset)
    for name, shares in corrected.items():
        allowed = {"qc_flat_field": limits.qc_flat_field, "qc_vignetting": limits.qc_vignetting}
        yield from check_flat_field(fov, name, *shares, opened.get(name, ()), **allowed, offset=offset)


def _name(array: Frames) -> str:
    """The name of an array in images.zarr, such as fl_ch_1."""
    return array.path.parent.name


def _channel_of(arrays: Sequence[Frames]) -> int:
    """The number of the phase-contrast channel, one of these."""
    names = map(_name, arrays)
    return next(int(name.rpartition("_")[2]) for name in names if paths.is_phase_contrast(name))


def _opened(fovs: Iterable[int], arrays: Sequence[str]) -> dict[int, Frames]:
    """The arrays of a channel by FOV."""
    return {fov: open_frames(Path(array)) for fov, array in zip(fovs, arrays, strict=True)}


def _by_channel(arrays: Sequence[str]) -> dict[str, list[str]]:
    """Arrays of light, whatever was done to it, or of its background, by the name of the channel."""
    found: dict[str, list[str]] = {}
    for array in arrays:
        name = paths.cropped_as(Path(array).parent.name)
        found.setdefault(name.replace("_background", ""), []).append(array)
    return found


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        fovs, given = settings.pop("fovs"), snakemake.input
        by_fov = {
            name: dict(zip(fovs, given.get(name, []), strict=False))
            for name in ("cells", "traces", "labeled", "lineages", "tracked")
        }
        main(
            snakemake.output.quality,
            frames={fov: given.frames[at :: len(fovs)] for at, fov in enumerate(fovs)},
            flat_fields=given.get("flat_fields"),
            **by_fov,
            **{name: _by_channel(given.get(name, [])) for name in ("backgrounds", "light", "under_light")},
            **settings,
        )
