rule digest:
    """Choose and shrink what the report shows of a FOV."""
    input:
        pc=LAYOUT.frames(pc(PC)),
        tracked=final_labels,
        labeled=LAYOUT.frames(labeled(PC)),
        cells=rules.crop.output.cells,
        traces=rules.extract.output.traces,
        lineage=lineage_table,
        decisions=decisions_of,
    output:
        digest=LAYOUT.digest,
        checksums=LAYOUT.checksums("digest"),
    log:
        LAYOUT.log("digest"),
    benchmark:
        LAYOUT.benchmark("digest")
    conda:
        "../envs/celltraces.yaml"
    resources:
        mem_mb=memory("digest"),
        runtime=runtime("digest"),
    params:
        settings=settings_of("digest"),
        code=code_of("digest_fov.py"),
    message:
        "Digesting {wildcards.dataset} FOV {wildcards.fov} for the report"
    script:
        "../scripts/digest_fov.py"


rule write_report:
    """Write the report of a dataset, a page that opens in a browser, from tables and digests."""
    input:
        digests=of_all_fovs(LAYOUT.digest),
        traces=rules.tidy.output.parquet,
        cells=rules.tidy.output.cells,
        quality=rules.qc.output.quality,
        record=rules.record.output.record,
        fits=fitted_tables,
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
        code=code_of("write_report.py", *REPORT_PAGE),
    message:
        "Writing the report of {wildcards.dataset}: {output.report}"
    script:
        "../scripts/write_report.py"
