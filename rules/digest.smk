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
