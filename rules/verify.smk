# Not part of a run: `snakemake --cores 1 verify` reads all results and says what is not as it was written.
rule verify:
    log:
        LAYOUT.log("verify", ALL),
    benchmark:
        LAYOUT.benchmark("verify", ALL)
    conda:
        "../envs/pyama.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=600,
    params:
        **stage("verify", "verify_results.py"),
        listings=checksum_listings(),
    message:
        "Reading all results in {LAYOUT.results}"
    script:
        "../scripts/verify_results.py"
