"""Write the tidy table of a dataset: good traces of all FOVs with times and samples, as CSV and Parquet.

One FOV is in memory at a time. A second table says how the stage moved in each FOV.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from celltraces.files import whole
from celltraces.frames import stage_movement
from celltraces.results.curation import good_traces
from celltraces.runs import job
from celltraces.storage.frames import Frames, open_frames
from celltraces.tracking import stage_places

MOVEMENT_COLUMNS = ("fov", "frame", "since", "moved_y", "moved_x", "alike", "unmoved", "place_y", "place_x")
WHOLE_NUMBERS = ("fov", "cell", "frame", "bbox_x0", "bbox_y0", "bbox_x1", "bbox_y1")


def tidy(traces: pd.DataFrame, dataset: str, samples: Mapping[str, str]) -> pd.DataFrame:
    """One row per cell and frame: dataset, sample, fov, cell, frame, time_min, then the rest as in the traces.

    samples: names by FOV; a FOV of several samples has them all, with ";" between.
    """
    first = {
        "dataset": dataset,
        "sample": pd.Series([samples.get(str(fov), "") for fov in traces["fov"]], traces.index, dtype=str),
        "fov": traces["fov"],
        "cell": traces["cell"],
        "frame": traces["frame"],
        "time_min": traces["time_min"],
    }
    rest = traces.drop(columns=["fov", "cell", "frame", "good", "time_min"])
    return pd.concat([pd.DataFrame(first, traces.index), rest], axis=1)


def movement_table(fov: int, phase_contrast: Frames, tracked: Frames) -> pd.DataFrame:
    """How the stage moved in one FOV, a row per frame; no row where nobody measured it.

    moved_y, moved_x: measured displacement in pixels (down and right positive) against frame `since`; alike, unmoved:
    how alike the two are at that displacement and at none; place_y, place_x: where the first frame's contents lie, of
    the displacements that linking did not refuse, and those that it found.
    """
    movement = phase_contrast.attributes.get(stage_movement.ATTRIBUTE)
    if movement is None:
        return pd.DataFrame(columns=MOVEMENT_COLUMNS)
    linked = tracked.attributes.get(stage_places.ATTRIBUTE)
    still = stage_places.still(phase_contrast.shape[1:])
    places = stage_places.followed(movement, None if linked is None else np.array(linked), still).round(3)
    columns = {"fov": fov, "frame": range(len(places)), "since": pd.array(movement["since"], "Int64")}
    columns |= {"moved_y": movement["y"], "moved_x": movement["x"]}
    columns |= {name: movement[name] for name in ("alike", "unmoved")}
    return pd.DataFrame({**columns, "place_y": places[:, 0], "place_x": places[:, 1]})[list(MOVEMENT_COLUMNS)]


def registered(traces: pd.DataFrame, movement: pd.DataFrame) -> pd.DataFrame:
    """The traces of one FOV with their positions in the first frame besides, as registered_x and registered_y."""
    places = movement.set_index("frame")[["place_x", "place_y"]].reindex(traces["frame"]).fillna(0.0).to_numpy(float)
    positions = traces[["position_x", "position_y"]].to_numpy(float) - places.reshape(-1, 2)
    return traces.assign(registered_x=positions[:, 0].round(6), registered_y=positions[:, 1].round(6))


def _schema(columns: Sequence[str]) -> pa.Schema:
    """Parquet types by name, the same for every FOV: one without cells has none of its own."""
    types = {"dataset": pa.string(), "sample": pa.string()} | dict.fromkeys(WHOLE_NUMBERS, pa.int64())
    return pa.schema([(column, types.get(column, pa.float64())) for column in columns])


def movement_tables(
    phase_contrast: Sequence[str], tracked: Sequence[str], fovs: Sequence[int], output: str
) -> list[pd.DataFrame]:
    """Write how the stage moved in all FOVs as CSV, and return it by FOV."""
    tables = [
        movement_table(fov, open_frames(Path(images)), open_frames(Path(labels)))
        for fov, images, labels in zip(fovs, phase_contrast, tracked, strict=True)
    ]
    with whole(Path(output)) as partial:
        for at, table in enumerate(tables):
            table.to_csv(partial, mode="a", header=not at, index=False, na_rep="NaN", lineterminator="\n")
    return tables


def main(
    traces: Sequence[str],
    csv: str,
    parquet: str,
    decisions: Sequence[str],
    movements: Sequence[pd.DataFrame] = (),
    *,
    dataset: str,
    samples: Mapping[str, str],
    times_min: Sequence[Sequence[float]],
    missing: Mapping[str, str],
) -> None:
    """movements: how the stage moved in each FOV, where positions in the first frame are wanted."""
    n_rows = 0
    writer = None
    # A FOV that a person corrected has columns more than others.
    columns = dict.fromkeys(column for path in traces for column in pd.read_csv(path, nrows=0).columns)
    with whole(Path(csv)) as csv_partial, whole(Path(parquet)) as parquet_partial:
        for at, good in enumerate(good_traces(traces, times_min, decisions)):
            part = tidy(good.reindex(columns=[*columns, "time_min"]), dataset, samples)
            if movements:
                part = registered(part, movements[at])
            part.to_csv(csv_partial, mode="a", header=not writer, index=False, na_rep="NaN", lineterminator="\n")
            schema = _schema(list(part.columns))
            if writer is None:
                note = {"missing_fovs": ", ".join(f"{fov} ({reason})" for fov, reason in missing.items())}
                writer = pq.ParquetWriter(parquet_partial, schema.with_metadata(note), compression="zstd")
            writer.write_table(pa.Table.from_pandas(part, schema=schema, preserve_index=False))
            n_rows += len(part)
        if writer:
            writer.close()
    job.log.info("%d rows of %d FOVs", n_rows, len(traces))
    if missing:
        job.log.warning("missing FOVs: %s", missing)


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        wanted = settings.pop("register_frames")
        measured = movement_tables(
            snakemake.input.pc, snakemake.input.tracked, settings.pop("fovs"), snakemake.output.movement
        )
        main(
            snakemake.input.traces,
            snakemake.output.csv,
            snakemake.output.parquet,
            snakemake.input.decisions,
            measured if wanted else (),
            **settings,
        )
