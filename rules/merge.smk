# The traces of all FOVs of a sample together: one table per feature, with times.
rule merge:
    input:
        traces=sample_traces,
    output:
        tables=expand(LAYOUT.merged, column=COLUMNS, allow_missing=True),
    log:
        f"{LAYOUT.results}/logs/{{dataset}}/merge_{{sample}}.log",
    benchmark:
        f"{LAYOUT.results}/benchmarks/{{dataset}}/merge_{{sample}}.tsv"
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
