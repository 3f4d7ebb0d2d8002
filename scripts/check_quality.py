"""Check a dataset and write qc.csv: one row per suspicious frame, cell or FOV.

A row is `fov, frame, check, value, limit`; `frame` is empty where the whole FOV is meant. An empty table is a good
one. Nothing is changed or left out because of a row. The checks look at what the stages left in their results, so that
they cost no second look at the pixels.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from celltraces import paths
from celltraces.files import write_text
from celltraces.labels import lineage
from celltraces.results import light_on_cells
from celltraces.results.cell_checks import (
    check_channel_shift,
    check_cut_cells,
    check_hot_pixels,
    check_light_in_time,
    check_order,
)
from celltraces.results.light_by_cell import read_traces
from celltraces.results.quality import (
    Finding,
    as_csv,
    check_cells,
    check_exchanged_fovs,
    check_exposure,
    check_flat_field,
    check_fovs,
    check_frames,
    check_left_out,
    check_light,
    check_noise,
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
from celltraces.storage.cells import get_array, open_store
from celltraces.storage.frames import Frames, open_frames


def main(
    output: str,
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
    *,
    times_min: Mapping[str, Sequence[float]],
    times_assumed: Mapping[str, Sequence[tuple[str, float, float | None]]],
    senseless_stamps: Mapping[str, Sequence[int]],
    failed: Sequence[int],
    pixel_size_um: float | None,
    qc_saturation: float,
    qc_brightness: float,
    qc_contrast: float,
    qc_interval: float,
    qc_negative: float,
    qc_exposure: float,
    qc_dropped: float,
    qc_stage_shift: float,
    qc_vignetting: float,
    qc_flat_field: float,
    qc_channel_shift: float,
    qc_cell_saturation: float,
    qc_hot_pixel: float,
    qc_slowest: float,
    qc_fastest: float,
    qc_blur: float,
    qc_odd_part: float,
    qc_noise: float,
    camera_offset: float | None,
    **of_cells: Any,
) -> None:
    """light, under_light: by channel, as it is measured in cells and its background, where there are cells.

    labeled, tracked: labels of each frame, and those that stay with a cell.
    """
    found = [Finding(fov, None, "failed") for fov in failed]
    channels: dict[str, dict[int, Frames]] = {}
    seen: dict[str, dict[bytes, int]] = {}
    covered: dict[int, float] = {}
    cell_places: dict[int, light_on_cells.Places] = {}
    for fov, arrays in frames.items():
        key = str(fov)
        found += check_times(fov, times_min[key], senseless_stamps[key], qc_interval, times_assumed[key])
        opened = [open_frames(Path(array)) for array in arrays]
        moved = list(check_stage(fov, opened, qc_stage_shift=qc_stage_shift))
        found += moved
        for array in opened:
            name = array.path.parent.name
            channels.setdefault(name, {})[fov] = array
            found += check_frames(
                fov,
                array,
                seen.setdefault(name, {}),
                qc_saturation=qc_saturation,
                qc_brightness=qc_brightness,
                qc_odd_part=qc_odd_part,
                qc_contrast=qc_contrast if paths.is_phase_contrast(name) else None,
            )
            if not paths.is_phase_contrast(name):
                found += check_exposure(fov, array, qc_exposure)
                found += check_place(fov, array, {row.frame for row in moved})
        if fov in labeled:
            found += check_left_out(fov, open_frames(Path(labeled[fov])), qc_dropped=qc_dropped)
        if fov in cells:
            with open_store(Path(cells[fov])) as get:
                ids, areas, bboxes = (get_array(get, f"metadata/{name}")[0] for name in ("cell_ids", "areas", "bboxes"))
                table = read_traces(Path(traces[fov]).read_text("utf-8"))
                wanted = set(map(int, table.cells))
                kept = bboxes[np.isin(ids, list(wanted))]
                for array in opened:
                    if not paths.is_phase_contrast(array.path.parent.name):
                        found += check_cut_cells(
                            fov,
                            array,
                            get,
                            _channel_of(opened),
                            wanted,
                            qc_saturation=qc_saturation,
                            qc_cell_saturation=qc_cell_saturation,
                        )
                        found += check_hot_pixels(fov, array, kept, table, qc_hot_pixel=qc_hot_pixel)
            found += check_order(fov, bboxes, areas > 0)
            cell_places[fov] = light_on_cells.places_of(ids, bboxes, areas > 0)
            height, width = opened[0].shape[1:]
            covered[fov] = float(np.median(areas.sum(axis=0))) / (height * width)
            parents = [parent for parent, _ in lineage.read_table(Path(lineages[fov])).values()]
            found += check_cells(fov, areas, np.isin(ids, parents), **of_cells)
            found += check_traces(fov, len(areas), table, qc_negative=qc_negative, qc_exposure=qc_exposure)
    if frames:
        found += check_pixel_size(min(frames), pixel_size_um)
        times = {fov: times_min[str(fov)] for fov in frames}
        found += check_visits(times)
        middles = {fov: cells_of.middles for fov, cells_of in cell_places.items()}
        found += check_speed(middles, times, pixel_size_um, qc_slowest=qc_slowest, qc_fastest=qc_fastest)
    phase_contrast = next((arrays for name, arrays in channels.items() if paths.is_phase_contrast(name)), {})
    for name, arrays_of_channel in channels.items():
        found += check_fovs(arrays_of_channel, qc_brightness=qc_brightness)
        found += check_noise(arrays_of_channel, covered, qc_noise=qc_noise)
        if not paths.is_phase_contrast(name):
            found += check_light(
                arrays_of_channel, phase_contrast, covered, qc_exposure=qc_exposure, offset=camera_offset or 0.0
            )
        found += check_stacks(arrays_of_channel)
    fluorescence = {name: arrays for name, arrays in channels.items() if not paths.is_phase_contrast(name)}
    exchanged = list(check_exchanged_fovs(fluorescence, qc_exposure=qc_exposure, offset=camera_offset or 0.0))
    named = {(row.fov, row.check.replace("exchanged_fov", "exposure_fov")) for row in exchanged}
    found = [row for row in found if (row.fov, row.check) not in named] + exchanged
    labels = {fov: open_frames(Path(array)) for fov, array in labeled.items()} if light else {}
    tracks = {fov: open_frames(Path(array)) for fov, array in (tracked or {}).items()}
    for name, of_fovs in (light or {}).items():
        measured, under = _opened(labeled, of_fovs), _opened(labeled, (under_light or {})[name])
        found += check_channel_shift(name, labels, measured, under, qc_channel_shift=qc_channel_shift)
        on_cells = {
            fov: light_on_cells.Channel(regions, measured[fov], under[fov], cell_places[fov])
            for fov, regions in tracks.items()
        }
        found += check_light_in_time(name, on_cells, qc_blur=qc_blur, qc_odd_part=qc_odd_part)
    for name, of_fovs in backgrounds.items():
        opened = [open_frames(Path(array)) for array in of_fovs]
        found += check_vignetting(min(frames), name, opened, qc_vignetting=qc_vignetting, offset=camera_offset or 0.0)
    described = json.loads(Path(flat_fields).read_text("utf-8")) if flat_fields and frames else {}
    for channel, details in described.items():
        unexplained = details["unexplained"]
        found += check_flat_field(min(frames), paths.fl(int(channel)), unexplained, qc_flat_field=qc_flat_field)
    write_text(Path(output), as_csv(found))
    job.log.info("%d findings in %d FOVs", len(found), len(frames) + len(failed))


def _channel_of(arrays: Sequence[Frames]) -> int:
    """The number of the phase-contrast channel, one of these."""
    names = (array.path.parent.name for array in arrays)
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
        fovs = settings.pop("fovs")
        main(
            snakemake.output.quality,
            {fov: snakemake.input.frames[at :: len(fovs)] for at, fov in enumerate(fovs)},
            dict(zip(fovs, snakemake.input.get("cells", []), strict=False)),
            dict(zip(fovs, snakemake.input.get("traces", []), strict=False)),
            dict(zip(fovs, snakemake.input.get("labeled", []), strict=False)),
            dict(zip(fovs, snakemake.input.get("lineages", []), strict=False)),
            _by_channel(snakemake.input.get("backgrounds", [])),
            snakemake.input.get("flat_fields"),
            _by_channel(snakemake.input.get("light", [])),
            _by_channel(snakemake.input.get("under_light", [])),
            dict(zip(fovs, snakemake.input.get("tracked", []), strict=False)),
            **settings,
        )
