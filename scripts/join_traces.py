"""Join the tidy tables of all datasets into one, as CSV and Parquet: one FOV is in memory at a time."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from celltraces.files import whole
from celltraces.results.joined_tables import join_tables
from celltraces.runs import job

NOTE = b"missing_fovs"


def join_parquet(tables: Sequence[Path], datasets: Sequence[str], output: Path) -> None:
    """Write the rows of all tables, group by group, in the columns of the first."""
    files = [pq.ParquetFile(table) for table in tables]
    notes = {
        name: (file.schema_arrow.metadata or {}).get(NOTE, b"") for name, file in zip(datasets, files, strict=True)
    }
    missing = "; ".join(f"{name}: {note.decode()}" for name, note in notes.items() if note)
    schema = files[0].schema_arrow.with_metadata({NOTE: missing.encode()})
    with whole(output) as partial, pq.ParquetWriter(partial, schema, compression="zstd") as writer:
        for file in files:
            for group in range(file.num_row_groups):
                part = file.read_row_group(group).select(schema.names)
                writer.write_table(part.replace_schema_metadata(schema.metadata))
            file.close()


def main(csvs: Sequence[str], parquets: Sequence[str], csv: str, parquet: str, *, datasets: Sequence[str]) -> None:
    n_rows = join_tables(dict(zip(datasets, map(Path, csvs), strict=True)), Path(csv), named=True)
    join_parquet([Path(path) for path in parquets], datasets, Path(parquet))
    job.log.info("%d rows of %d datasets", n_rows, len(datasets))


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(snakemake.input.csv, snakemake.input.parquet, snakemake.output.csv, snakemake.output.parquet, **settings)
