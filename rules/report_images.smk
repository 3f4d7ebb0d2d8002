# The report where there are no cells, since no phase contrast is named or images are only copied: images, background, checks.
rule digest_images:
    input:
        channels=[LAYOUT.frames(name) for name in RAW],
        backgrounds=([] if COPY_ONLY else [LAYOUT.frames(name) for name in BACKGROUNDS]),
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
        settings=as_json({"thumbnail_width": CONFIG["report"]["thumbnail_width"]}),
        code=code_digest("digest_images.py"),
    message:
        "Digesting {wildcards.dataset} FOV {wildcards.fov} for the report"
    script:
        "../scripts/digest_images.py"


rule write_report:
    input:
        digests=of_all_fovs(LAYOUT.digest),
        quality=LAYOUT.quality,
        record=LAYOUT.record,
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
