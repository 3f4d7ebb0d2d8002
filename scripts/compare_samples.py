"""Compare samples over all datasets: tables of cells, FOVs and effects, and one page that shows them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from celltraces.errors import raise_what_passes
from celltraces.files import write_text
from celltraces.pictures import legend
from celltraces.report import cell_numbers, comparison, comparison_tables
from celltraces.runs import job


def main(
    tidy: Sequence[str],
    fit_tables: Sequence[str],
    page: str,
    tables: Sequence[str],
    *,
    datasets: Sequence[Mapping[str, Any]],
    samples: Sequence[str],
    channels: Mapping[str, str],
    columns: Sequence[str],
    fits: Sequence[Mapping[str, Any]],
    size_mb: float,
) -> None:
    """datasets: of each its name, frames, pixel size, samples by FOV, missing FOVs, and how many tables a fit has.

    fit_tables: for each dataset, for each fit, of each sample. tables: of cells, FOVs and effects.
    """
    sizes = [dataset["pixel_size_um"] for dataset in datasets]
    known = all(sizes)  # else areas and lengths of all datasets stay in pixels
    labels = {column: legend.label_of(column, channels, sizes[0] if known else None) for column in columns}
    units = {column: legend.unit_of(column, sizes[0] if known else None) for column in columns}
    quantities = cell_numbers.quantities(labels, units, fits)
    numbers, rest = [], [Path(path) for path in fit_tables]
    for dataset, table in zip(datasets, tidy, strict=True):
        of_fits = []
        for _ in fits:
            of_fits.append(rest[: dataset["n_tables"]])
            rest = rest[dataset["n_tables"] :]
        place = dataset["name"], Path(table), dataset["samples"], dataset["n_frames"]
        scales = {column: legend.scale_of(column, dataset["pixel_size_um"] if known else None) for column in columns}
        numbers.append(cell_numbers.read_numbers(*place, scales, fits, of_fits))
        job.log.info("%s: %d cells of %d FOVs", dataset["name"], len(numbers[-1].cell), len(numbers[-1].fovs))
    cells, fovs, effects = map(Path, tables)
    comparison_tables.write_cells(cells, numbers, list(quantities))
    comparison_tables.write_fovs(fovs, numbers, quantities)
    found = dict(comparison_tables.all_effects(numbers, quantities, samples))
    comparison_tables.write_effects(effects, found, quantities, samples)
    missing = {dataset["name"]: dataset["missing"] for dataset in datasets if dataset["missing"]}
    try:
        text = comparison.build_comparison(
            numbers, samples, labels, quantities, found, missing=missing, size_mb=size_mb
        )
    except Exception as error:  # a page to look at never costs the run its data
        raise_what_passes(error)
        job.log.exception("no page")
        text = (
            f"<!doctype html>\n<title>No comparison</title>\n<p>No page could be made ({type(error).__name__}).</p>\n"
        )
    write_text(Path(page), text)
    job.log.info("%.2f MB", len(text.encode()) / 1e6)


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(snakemake.input.traces, snakemake.input.fits, snakemake.output.page, snakemake.output.tables, **settings)
