# The report where there are no cells, since no phase contrast is named or images are only copied.
rule digest_images:
    """Shrink the images of a FOV without cells, and sum up their levels, for the report."""
    input:
        channels=[LAYOUT.frames(name) for name in ARRAYS.raw],
        backgrounds=[
            LAYOUT.frames(name)
            for name in ARRAYS.backgrounds
            if not EXPERIMENT.copy_only
        ],
    output:
        digest=LAYOUT.digest,
        checksums=LAYOUT.checksums("digest_images"),
    log:
        LAYOUT.log("digest_images"),
    benchmark:
        LAYOUT.benchmark("digest_images")
    conda:
        "../envs/celltraces.yaml"
    resources:
        mem_mb=memory("digest_images"),
        runtime=runtime("digest_images"),
    params:
        settings=settings_of("digest_images"),
        code=code_of("digest_images.py"),
    message:
        "Digesting {wildcards.dataset} FOV {wildcards.fov} for the report"
    script:
        "../scripts/digest_images.py"


rule write_report:
    """Write the report of a dataset without cells: images, levels, background and checks."""
    input:
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
        code=code_of("write_report.py", *REPORT_PAGE),
    message:
        "Writing the report of {wildcards.dataset}: {output.report}"
    script:
        "../scripts/write_report.py"
