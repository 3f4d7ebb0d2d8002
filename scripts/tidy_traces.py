"""Write the tidy table of a dataset: good traces of all FOVs with times and samples, as CSV and Parquet.

One FOV is in memory at a time. A second table has a row for each cell that was tracked, also for those that are left
out; a third says how the stage moved in each FOV.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from celltraces.features.cell_list import cell_list, find_cells
from celltraces.files import whole
from celltraces.labels import lineage
from celltraces.results.curation import good_traces, judged_traces
from celltraces.runs import job
from celltraces.storage.cells import open_store
from celltraces.tracking import stage_table

WHOLE_NUMBERS = ("fov", "cell", "frame", "bbox_x0", "bbox_y0", "bbox_x1", "bbox_y1", *lineage.TRACE_COLUMNS)


def tidy(
    traces: pd.DataFrame, dataset: str, samples: Mapping[str, str], origins: Mapping[int, tuple[int, int]]
) -> pd.DataFrame:
    """One row per cell and frame: dataset, sample, fov, cell, frame, time_min, then the rest as in the traces, and at
    the end the parent and the frame of the division of cells that have a parent.

    samples: names by FOV; "" where a FOV is in none. origins: of cells with a parent.
    """
    first = {
        "dataset": dataset,
        "sample": pd.Series([samples.get(str(fov), "") for fov in traces["fov"]], traces.index, dtype=str),
        "fov": traces["fov"],
        "cell": traces["cell"],
        "frame": traces["frame"],
        "time_min": traces["time_min"],
    }
    # The traces of a FOV that a person corrected have the last two already.
    rest = traces.drop(columns=["fov", "cell", "frame", "good", "time_min", *lineage.TRACE_COLUMNS], errors="ignore")
    born = {
        name: traces["cell"].map({cell: origin[at] for cell, origin in origins.items()}).astype("Int64")
        for at, name in enumerate(lineage.TRACE_COLUMNS)
    }
    return pd.concat([pd.DataFrame(first, traces.index), rest, pd.DataFrame(born, traces.index)], axis=1)


def _schema(columns: Sequence[str]) -> pa.Schema:
    """Parquet types by name, the same for every FOV: one without cells has none of its own."""
    types = {"dataset": pa.string(), "sample": pa.string()} | dict.fromkeys(WHOLE_NUMBERS, pa.int64())
    return pa.schema([(column, types.get(column, pa.float64())) for column in columns])


def main(
    traces: Sequence[str],
    csv: str,
    parquet: str,
    decisions: Sequence[str],
    lineages: Sequence[str],
    *,
    dataset: str,
    samples: Mapping[str, str],
    times_min: Sequence[Sequence[float]],
    missing: Mapping[str, str],
    movement: pd.DataFrame | None = None,
) -> None:
    """movement: how the stage moved in each FOV (`stage_table`), where positions in the first frame are wanted."""
    n_rows = 0
    writer = None
    # A FOV that a person corrected has columns more than others.
    columns = dict.fromkeys(column for path in traces for column in pd.read_csv(path, nrows=0).columns)
    with whole(Path(csv)) as csv_partial, whole(Path(parquet)) as parquet_partial:
        for good, table in zip(good_traces(traces, times_min, decisions), lineages, strict=True):
            origins = lineage.read_table(Path(table))
            part = tidy(good.reindex(columns=[*columns, "time_min"]), dataset, samples, origins)
            if movement is not None:
                part = stage_table.with_registered_positions(part, movement)
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


def write_cell_list(
    stores: Sequence[str],
    traces: Sequence[str],
    decisions: Sequence[str],
    lineages: Sequence[str],
    output: str,
    *,
    dataset: str,
    samples: Mapping[str, str],
    fovs: Sequence[int],
    times_min: Sequence[Sequence[float]],
    columns: Sequence[str],
    pc: int,
    min_frames: int,
    border_margin: int,
) -> None:
    """Write the list of all cells that were tracked: dataset, sample, fov, then the columns of `cell_list`.

    stores: cells.zarr of each FOV. columns: of the features, in the traces.
    """
    area = next((column for column in columns if column == f"area_ch_{pc}"), None)
    lists = []
    of_fovs = zip(fovs, stores, judged_traces(traces, times_min, decisions), lineages, strict=True)
    for fov, store, table, of_lineage in of_fovs:
        origins = lineage.read_table(Path(of_lineage))
        with open_store(Path(store)) as get:
            found = find_cells(get, pc, min_frames, border_margin, origins)
        listed = cell_list(found, table, columns, origins, area)
        place = {"dataset": dataset, "sample": samples.get(str(fov), ""), "fov": fov}
        lists.append(listed.assign(**place)[[*place, *listed.columns]])
    everything = pd.concat(lists, ignore_index=True)
    with whole(Path(output)) as partial:
        everything.to_csv(partial, index=False, na_rep="NaN", float_format="%.6g", lineterminator="\n")
    job.log.info("%d cells, %d of them in the tables", len(everything), int(everything["in_tables"].sum()))


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        wanted = settings.pop("register_frames")
        moved = stage_table.stage_table(zip(settings["fovs"], snakemake.input.pc, snakemake.input.tracked, strict=True))
        stage_table.write(moved, snakemake.output.movement)
        missing = settings.pop("missing")
        write_cell_list(
            snakemake.input.cells,
            snakemake.input.traces,
            snakemake.input.decisions,
            snakemake.input.lineages,
            snakemake.output.cells,
            **settings,
        )
        main(
            snakemake.input.traces,
            snakemake.output.csv,
            snakemake.output.parquet,
            snakemake.input.decisions,
            snakemake.input.lineages,
            movement=moved if wanted else None,
            missing=missing,
            **{key: settings[key] for key in ("dataset", "samples", "times_min")},
        )
