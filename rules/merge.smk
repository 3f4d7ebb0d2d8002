rule merge:
    """Merge the traces of all FOVs of a sample, with times: one table per feature."""
    input:
        traces=traces_of_sample,
        decisions=decisions_of,
    output:
        tables=expand(LAYOUT.merged, column=EXPERIMENT.columns, allow_missing=True),
        checksums=LAYOUT.checksums("merge_{sample}", DATASET),
    log:
        LAYOUT.log("merge_{sample}", DATASET),
    benchmark:
        LAYOUT.benchmark("merge_{sample}", DATASET)
    conda:
        "../envs/celltraces.yaml"
    resources:
        mem_mb=merging("mem_mb"),
        runtime=merging("runtime"),
    params:
        settings=settings_of("merge"),
        code=code_of("merge_samples.py"),
    message:
        "Merging sample {wildcards.sample} of {wildcards.dataset}"
    script:
        "../scripts/merge_samples.py"
