# Not part of a run: `snakemake --cores 1 set_aside` moves what the end of a run names as left over from other configurations.
# Like `verify` it leaves nothing but its log behind, so that it is never up to date.
rule set_aside:
    log:
        LAYOUT.log("set_aside", ALL),
    localrule: True
    conda:
        "../envs/pyama.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    params:
        **stage("set_aside", "set_aside.py"),
        results=LAYOUT.results,
        found=lambda _: list(map(str, left_over())),
    message:
        "Moving what does not belong to this configuration out of the way"
    script:
        "../scripts/set_aside.py"
