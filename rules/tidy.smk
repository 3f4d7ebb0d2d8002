# The good traces of all FOVs together, with times and samples: one table for statistics.
rule tidy:
    input:
        traces=of_all_fovs(LAYOUT.traces),
        decisions=decisions_of,
    output:
        csv=f"{LAYOUT.tidy}.csv",
        parquet=f"{LAYOUT.tidy}.parquet",
        checksums=LAYOUT.checksums("tidy", DATASET),
    log:
        LAYOUT.log("tidy", DATASET),
    benchmark:
        LAYOUT.benchmark("tidy", DATASET)
    conda:
        "../envs/pyama.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        settings=tidy_settings,
        code=code_digest("tidy_traces.py"),
    message:
        "Putting all traces of {wildcards.dataset} into one table"
    script:
        "../scripts/tidy_traces.py"
