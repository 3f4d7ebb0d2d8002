# Reads the file of the beads, which is among the settings with the identity of its content.
rule shift_field:
    """Target: shift fields from pictures of beads, for `chroma` in the config."""
    output:
        field=LAYOUT.shift_field,
        checksums=LAYOUT.checksums("shift_field", ALL),
    log:
        LAYOUT.log("shift_field", ALL),
    benchmark:
        LAYOUT.benchmark("shift_field", ALL)
    conda:
        "../envs/celltraces.yaml"
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        settings=settings_of("shift_field"),
        code=code_of("estimate_shift_field.py"),
    message:
        "Estimating shift fields from beads"
    script:
        "../scripts/estimate_shift_field.py"
