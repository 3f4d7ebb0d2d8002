# It leaves no file behind, not even a benchmark, so that it is never up to date.
rule verify:
    """Target: read all results and say what is not as it was written."""
    log:
        LAYOUT.log("verify", ALL),
    localrule: True
    conda:
        "../envs/celltraces.yaml"
    resources:
        mem_mb=500,
        runtime=600,
    params:
        settings=settings_of("verify"),
        code=code_of("verify_results.py"),
        results=LAYOUT.results,
        targets=targets,
        command=command_line.command(),
    message:
        "Reading all results in {LAYOUT.results}"
    script:
        "../scripts/verify_results.py"
