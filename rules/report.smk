rule write_report:
    """Write the report of a dataset, a page that opens in a browser, from digests of its FOVs and, of cells, tables."""
    input:
        **(
            {
                "traces": rules.tidy.output.parquet,
                "cells": rules.tidy.output.cells,
                "fits": fitted_tables,
            }
            if EXPERIMENT.tracing
            else {}
        ),
        digests=of_all_fovs(LAYOUT.digest),
        quality=rules.qc.output.quality,
        record=rules.record.output.record,
    output:
        report=report(
            LAYOUT.report,
            caption="report/report.rst",
            category="Reports",
            labels={"dataset": "{dataset}"},
        ),
        checksums=LAYOUT.checksums("write_report", DATASET),
    log:
        LAYOUT.log("write_report", DATASET),
    benchmark:
        LAYOUT.benchmark("write_report", DATASET)
    conda:
        "../envs/celltraces.yaml"
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        settings=settings_of("write_report"),
        code=code_of(
            "write_report.py",
            *EVERY_PAGE,
            "celltraces/report/page.html",
            "celltraces/report/cell_list.js",
            "celltraces/report/page.js",
        ),
    message:
        "Writing the report of {wildcards.dataset}: {output.report}"
    script:
        "../scripts/write_report.py"
