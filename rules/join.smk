# Tables over all datasets, where there are several: replicates of other days, or a file for each condition.


rule join_traces:
    """Join the tidy tables of all datasets into one."""
    input:
        csv=joined.tidy_tables(EXPERIMENT, "csv"),
        parquet=joined.tidy_tables(EXPERIMENT, "parquet"),
    output:
        csv=f"{LAYOUT.joined_traces}.csv",
        parquet=f"{LAYOUT.joined_traces}.parquet",
        checksums=LAYOUT.checksums("join_traces", ALL),
    log:
        LAYOUT.log("join_traces", ALL),
    benchmark:
        LAYOUT.benchmark("join_traces", ALL)
    conda:
        "../envs/celltraces.yaml"
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        settings=settings_of("join_traces"),
        code=code_of("join_traces.py"),
    message:
        "Joining the traces of all datasets"
    script:
        "../scripts/join_traces.py"


if EXPERIMENT.merging:

    rule join_tables:
        """Join the merged tables, and the fits, of a sample: each of all datasets in which it has FOVs."""
        input:
            merged=lambda wildcards: joined.merged_tables(EXPERIMENT, wildcards.sample),
            fitted=lambda wildcards: joined.fits_of_sample(EXPERIMENT, wildcards.sample),
        output:
            merged=expand(LAYOUT.joined, column=EXPERIMENT.columns, allow_missing=True),
            fitted=[
                LAYOUT.joined_fit.format(sample="{sample}", column=column, model=model)
                for column, model in EXPERIMENT.fits
            ],
            checksums=LAYOUT.checksums("join_tables_{sample}", ALL),
        log:
            LAYOUT.log("join_tables_{sample}", ALL),
        benchmark:
            LAYOUT.benchmark("join_tables_{sample}", ALL)
        conda:
            "../envs/celltraces.yaml"
        resources:
            mem_mb=1000,
            runtime=60,
        params:
            settings=settings_of("join_tables"),
            code=code_of("join_tables.py"),
        message:
            "Joining the tables of sample {wildcards.sample} of all datasets"
        script:
            "../scripts/join_tables.py"
