# Like `verify` it leaves nothing but its log behind, so that it is never up to date.
rule set_aside:
    """Target: move out of the way what other configurations left, which the end of a run names."""
    log:
        LAYOUT.log("set_aside", ALL),
    localrule: True
    conda:
        "../envs/celltraces.yaml"
    resources:
        mem_mb=500,
        runtime=10,
    params:
        settings=settings_of("set_aside"),
        code=code_of("set_aside.py"),
        results=LAYOUT.results,
        found=lambda wildcards: list(map(str, leftovers.find_leftovers(EXPERIMENT))),
    message:
        "Moving what does not belong to this configuration out of the way"
    script:
        "../scripts/set_aside.py"
