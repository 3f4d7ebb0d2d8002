# Kinetics: a model fitted to every trace of a merged table, one row per cell.
rule fit:
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
        "../envs/pyama.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        settings=fit_settings,
        code=code_digest("fit_traces.py"),
    message:
        "Fitting {wildcards.model} to {wildcards.column} of {wildcards.sample} of {wildcards.dataset}"
    script:
        "../scripts/fit_traces.py"
