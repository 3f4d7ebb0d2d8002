rule compare_samples:
    """Compare samples over all datasets: effects with FOVs as the unit, tables, and a page that opens in a browser."""
    input:
        traces=joined.tidy_tables(EXPERIMENT, "parquet"),
        fits=joined.fits_to_compare(EXPERIMENT),
    output:
        page=report(
            LAYOUT.comparison,
            caption="report/comparison.rst",
            category="Reports",
            labels={"dataset": "all"},
        ),
        tables=expand(LAYOUT.compared, table=joined.COMPARED),
        checksums=LAYOUT.checksums("compare_samples", ALL),
    log:
        LAYOUT.log("compare_samples", ALL),
    benchmark:
        LAYOUT.benchmark("compare_samples", ALL)
    conda:
        "../envs/celltraces.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        settings=settings_of("compare_samples"),
        code=code_of(
            "compare_samples.py",
            *EVERY_PAGE,
            "celltraces/report/comparison.html",
            "celltraces/report/comparison.js",
        ),
    message:
        "Comparing the samples: {output.page}"
    script:
        "../scripts/compare_samples.py"
