"""Write the report of one dataset: one HTML file that needs no network.

It is put together from what the other stages left: the digests of the FOVs, the tidy table, the list of cells, the
fits, qc.csv and processing_config.yaml. Of as many cells as have room in `size_mb` it shows the line and the film
strip. What cannot be read is named on the page, and costs nothing else.
"""

from pathlib import Path
from typing import Any

from celltraces.errors import raise_what_passes
from celltraces.files import write_text
from celltraces.report.build import build_report
from celltraces.runs import job


def main(output: str, **wanted: Any) -> None:
    try:
        text = build_report(**wanted)
    except Exception as error:  # a page to look at never costs the run its data
        raise_what_passes(error)
        job.log.exception("no report")
        text = f"<!doctype html>\n<title>No report</title>\n<p>No report could be made ({type(error).__name__}).</p>\n"
    write_text(Path(output), text)
    job.log.info("%.2f MB", len(text.encode()) / 1e6)


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(
            snakemake.output.report,
            digest_files=dict(zip(settings["fovs"], map(Path, snakemake.input.digests), strict=True)),
            tidy=Path(snakemake.input.traces) if snakemake.input.get("traces") else None,
            cell_list=Path(snakemake.input.cells) if snakemake.input.get("cells") else None,
            quality=Path(snakemake.input.quality),
            record=Path(snakemake.input.record),
            fit_tables=list(map(Path, snakemake.input.get("fits", []))),
            **settings,
        )
