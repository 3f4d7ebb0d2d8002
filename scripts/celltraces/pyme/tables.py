"""Write tables of a FOV for PYME: traces (.hdf), and the spots of a channel as fit results (.h5r).

Positions are nm, the middle of the first pixel being 0; `t` and `tIndex` are the number of the frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from celltraces import paths
from celltraces.exports.fov import Fov, traces_of_good_cells
from celltraces.features import cell_features
from celltraces.features.particles import find_particles
from celltraces.features.trace_table import without_data
from celltraces.files import whole
from celltraces.pyme import metadata, spots
from celltraces.pyme.shared import events_of, metadata_of, write_events
from celltraces.storage import cells
from celltraces.storage.hdf5 import new_file

if TYPE_CHECKING:
    import pandas as pd

FITTED = ("A", "x0", "y0", "sigma", "background")
SPOT = np.dtype(
    [("tIndex", "<i4"), ("cell", "<i4"), ("resultCode", "<i4")]
    + [(part, [(name, "<f4") for name in FITTED]) for part in ("fitResults", "fitError")]
)


def export(fov: Fov, outputs: Sequence[Path]) -> None:
    """Write the traces (.hdf), or the spots of each fluorescence channel (.h5r)."""
    traces = traces_of_good_cells(fov)
    if outputs[0].suffix == ".hdf":
        write_pyme_table(outputs[0], "Traces", traces_table(traces, fov.settings), fov)
        return
    light = [name for name in fov.channels if not paths.is_phase_contrast(name)]
    for path, name in zip(outputs, light, strict=True):
        write_pyme_table(path, "FitResults", spots_table(fov, name, traces), fov)


def write_pyme_table(path: Path, name: str, table: np.ndarray, fov: Fov) -> None:
    """Write one table, with metadata and times, so that PYME finds the time of a frame."""
    with whole(path) as partial, new_file(partial) as file:
        file.create_dataset(name, data=table, maxshape=(None,), chunks=(4096,), track_times=False)
        metadata.write_groups(file, metadata_of(fov.settings, 1))
        write_events(file, events_of(fov.settings, 1))


def traces_table(traces: pd.DataFrame, settings: dict) -> np.ndarray:
    """Every column of the traces, with x, y (nm), t (frame) and time_s before them.

    Positions in the traces count from the corner of the first pixel, those of PYME from its middle.
    """
    nm = 1000 * metadata_of(settings, 1)["voxelsize.x"]
    times_s = 60 * np.array(settings["times_min"], np.float64)
    columns = {
        "x": nm * (traces["position_x"].to_numpy(np.float64) - 0.5),
        "y": nm * (traces["position_y"].to_numpy(np.float64) - 0.5),
        "t": traces["frame"].to_numpy(np.int32),
        "time_s": times_s[traces["frame"].to_numpy(np.int64)],
    }
    for name in traces.columns:
        values = traces[name].to_numpy()
        columns[name] = values.astype("<i4" if values.dtype.kind in "bi" else "<f8")
    table = np.empty(len(traces), [(name, values.dtype) for name, values in columns.items()])
    for name, values in columns.items():
        table[name] = values
    return table


# --------------------------------------------------------------------------------------------------------------- spots


def spots_table(fov: Fov, name: str, traces: pd.DataFrame) -> np.ndarray:
    """The spots that particle_num counts in a channel, in all cells of the traces, with a Gaussian fitted to each."""
    assert fov.cells is not None
    settings = fov.settings
    nm = 1000 * metadata_of(settings, 1)["voxelsize.x"]
    sigma = settings["particle_sigma"]
    pc = next(int(other.rpartition("_")[2]) for other in fov.channels if paths.is_phase_contrast(other))
    rows = []
    with cells.open_store(fov.cells) as get:
        ids, origins = (cells.get_array(get, f"metadata/{key}")[0] for key in ("cell_ids", "crop_origins"))
        at = {int(cell): row for row, cell in enumerate(ids)}
        for cell, frames in traces.groupby("cell")["frame"]:
            image, attributes = cells.get_array(get, f"{name}/{cell}/0")
            frames = frames.to_numpy()
            background, scaled = cells.get_array(get, f"{paths.background(int(name.rpartition('_')[2]))}/{cell}/0")
            mask = cells.get_array(get, f"{paths.tracked(pc)}/{cell}/0")[0][frames] > 0
            counts = np.rint(image[frames] * float(attributes["scale"]))
            light = counts - settings["background_weight"] * (background[frames] * float(scaled["scale"]))
            grown = cell_features.grow_mask(mask, settings["mask_margin"])
            found = find_particles(light, grown, sigma, settings["particle_threshold"])
            found[without_data(attributes, grown, frames)] = False
            for frame, y, x in np.argwhere(found).tolist():
                values, errors = spots.fit_spot(light[frame], y, x, sigma)
                y0, x0 = origins[at[cell], frames[frame]].tolist()
                for part, (dy, dx) in ((values, (y0, x0)), (errors, (0, 0))):
                    part[1:3] = nm * (part[1] + dx), nm * (part[2] + dy)
                    part[3] *= nm
                rows.append((frames[frame], cell, 1, tuple(values), tuple(errors)))
    table = np.array(rows, SPOT)
    return table[np.lexsort((table["cell"], table["tIndex"]))]
