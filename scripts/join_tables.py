"""Join the merged tables and the fits of one sample: each of all datasets in which the sample has FOVs."""

from collections.abc import Sequence
from pathlib import Path

from celltraces.results.joined_tables import join_tables
from celltraces.runs import job


def main(tables: Sequence[Sequence[str]], outputs: Sequence[str], *, datasets: Sequence[str]) -> None:
    """tables: for each output that of each of the datasets."""
    for parts, output in zip(tables, outputs, strict=True):
        n_rows = join_tables(dict(zip(datasets, map(Path, parts), strict=True)), Path(output))
        job.log.info("%s: %d rows", output, n_rows)


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        n_datasets = len(settings["datasets"])
        paths = [*snakemake.input.merged, *snakemake.input.fitted]
        parts = [paths[at : at + n_datasets] for at in range(0, len(paths), n_datasets)]
        main(parts, [*snakemake.output.merged, *snakemake.output.fitted], **settings)
