"""Tabulate how the stage moved in the FOVs of a dataset, and give positions as if it had not."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from celltraces.files import whole
from celltraces.frames import stage_movement
from celltraces.storage.frames import open_frames
from celltraces.tracking import stage_places

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("fov", "frame", "since", "moved_y", "moved_x", "alike", "unmoved", "place_y", "place_x")


def stage_table(fovs: Iterable[tuple[int, str, str]]) -> pd.DataFrame:
    """How the stage moved, a row per FOV and frame; none of a FOV in which it was not measured.

    fovs: number, path of the phase contrast, path of the tracked labels of each. moved_y, moved_x: measured
    displacement in pixels (down and right positive) against frame `since`; alike, unmoved: how alike the two are at
    that displacement and at none; place_y, place_x: where the first frame's contents lie, by the displacements that
    linking did not refuse, and those that it found.
    """
    import pandas as pd

    columns: dict[str, list[float | None]] = {name: [] for name in COLUMNS}
    for fov, phase_contrast, labels in fovs:
        images, tracked = open_frames(Path(phase_contrast)), open_frames(Path(labels))
        movement = images.attributes.get(stage_movement.ATTRIBUTE)
        if movement is None:
            continue
        linked = tracked.attributes.get(stage_places.ATTRIBUTE)
        still = stage_places.still(images.shape[1:])
        places = stage_places.followed(movement, None if linked is None else np.array(linked), still).round(3)
        columns["fov"] += [fov] * len(places)
        columns["frame"] += range(len(places))
        for name in ("since", "alike", "unmoved"):
            columns[name] += movement[name]
        for at, axis in enumerate("yx"):
            columns[f"moved_{axis}"] += movement[axis]
            columns[f"place_{axis}"] += places[:, at].tolist()
    whole_numbers = dict.fromkeys(("fov", "frame", "since"), "Int64")
    return pd.DataFrame(columns).astype({name: whole_numbers.get(name, "float64") for name in COLUMNS})


def write(table: pd.DataFrame, path: str) -> None:
    """Write the table as CSV."""
    with whole(Path(path)) as partial:
        table.to_csv(partial, index=False, na_rep="NaN", lineterminator="\n")


def with_registered_positions(traces: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Traces with two columns more, their positions in the first frame: registered_x and registered_y, in pixels.

    table: how the stage moved; positions of a FOV that is not in it are as they are.
    """
    places = traces[["fov", "frame"]].merge(table, on=["fov", "frame"], how="left")
    return traces.assign(
        **{
            f"registered_{axis}": (traces[f"position_{axis}"] - places[f"place_{axis}"].fillna(0.0).to_numpy()).round(6)
            for axis in "xy"
        }
    )
