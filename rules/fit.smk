rule fit:
    """Fit a model to every trace of a merged table: one row per cell."""
    input:
        table=LAYOUT.merged,
    output:
        table=report(
            LAYOUT.fitted,
            caption="report/fits.rst",
            category="Fits",
            labels={
                "dataset": "{dataset}",
                "sample": "{sample}",
                "feature": "{column}",
                "model": "{model}",
            },
        ),
        checksums=LAYOUT.checksums("fit_{sample}_{column}_{model}", DATASET),
    log:
        LAYOUT.log("fit_{sample}_{column}_{model}", DATASET),
    benchmark:
        LAYOUT.benchmark("fit_{sample}_{column}_{model}", DATASET)
    conda:
        "../envs/celltraces.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        settings=settings_of("fit"),
        code=code_of("fit_traces.py"),
    message:
        "Fitting {wildcards.model} to {wildcards.column} of {wildcards.sample} of {wildcards.dataset}"
    script:
        "../scripts/fit_traces.py"
