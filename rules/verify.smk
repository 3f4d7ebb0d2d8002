# Not part of a run: `snakemake --cores 1 verify` reads all results and says what is not as it was written.
# It leaves no file behind, not even a benchmark, so that it is never up to date.
rule verify:
    log:
        LAYOUT.log("verify", ALL),
    localrule: True
    conda:
        "../envs/pyama.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=600,
    params:
        **stage("verify", "verify_results.py"),
        results=LAYOUT.results,
        targets=targets,
        command=rerun.command(),
    message:
        "Reading all results in {LAYOUT.results}"
    script:
        "../scripts/verify_results.py"
