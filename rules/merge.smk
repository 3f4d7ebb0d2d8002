# The traces of all FOVs of a sample together: one table per feature, with times.
rule merge:
    input:
        traces=sample_traces,
        decisions=decisions_of,
    output:
        tables=expand(LAYOUT.merged, column=COLUMNS, allow_missing=True),
        checksums=LAYOUT.checksums("merge_{sample}", DATASET),
    log:
        LAYOUT.log("merge_{sample}", DATASET),
    benchmark:
        LAYOUT.benchmark("merge_{sample}", DATASET)
    conda:
        "../envs/pyama.yaml"
    threads: 1
    resources:
        mem_mb=merging("mem_mb"),
        runtime=merging("runtime"),
    params:
        settings=merge_settings,
        code=code_digest("merge_samples.py"),
    message:
        "Merging sample {wildcards.sample} of {wildcards.dataset}"
    script:
        "../scripts/merge_samples.py"
