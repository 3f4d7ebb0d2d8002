# The report: for each FOV what is shown of it, for each dataset the page that opens in a browser.
rule digest:
    input:
        pc=LAYOUT.frames(pc(PC)),
        tracked=final_labels,
        labeled=LAYOUT.frames(labeled(PC)),
        cells=LAYOUT.cells,
        traces=LAYOUT.traces,
    output:
        digest=LAYOUT.digest,
        checksums=LAYOUT.checksums("digest"),
    log:
        LAYOUT.log("digest"),
    benchmark:
        LAYOUT.benchmark("digest")
    conda:
        "../envs/pyama.yaml"
    threads: 1
    resources:
        mem_mb=memory("digest"),
        runtime=runtime("digest"),
    params:
        **stage("digest", "digest_fov.py"),
        channels=as_json({"pc": PC, "fl": FL, "column": RANKED_BY}),
    message:
        "Digesting {wildcards.dataset} FOV {wildcards.fov} for the report"
    script:
        "../scripts/digest_fov.py"


rule write_report:
    input:
        digests=of_all_fovs(LAYOUT.digest),
        traces=f"{LAYOUT.tidy}.parquet",
        quality=LAYOUT.quality,
        record=LAYOUT.record,
        fits=fitted_tables,
    output:
        report=report(
            LAYOUT.report,
            caption="report/report.rst",
            category="Reports",
            labels={"dataset": "{dataset}"},
        ),
        checksums=LAYOUT.checksums("report", DATASET),
    log:
        LAYOUT.log("report", DATASET),
    benchmark:
        LAYOUT.benchmark("report", DATASET)
    conda:
        "../envs/pyama.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        settings=report_settings,
        code=code_digest("write_report.py"),
        page=rerun.text_digest(*PAGE),
    message:
        "Writing the report of {wildcards.dataset}: {output.report}"
    script:
        "../scripts/write_report.py"
