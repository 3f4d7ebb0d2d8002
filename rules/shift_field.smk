# On request, before a run: shift fields from pictures of beads, for `chroma` in the config. Reads the file of the beads,
# which is a param with the identity of its content.
rule shift_field:
    output:
        field=LAYOUT.shift_field,
        checksums=LAYOUT.checksums("shift_field", ALL),
    log:
        LAYOUT.log("shift_field", ALL),
    benchmark:
        LAYOUT.benchmark("shift_field", ALL)
    conda:
        "../envs/pyama.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        settings=shift_field_settings,
        code=code_digest("estimate_shift_field.py"),
        identity=lambda wildcards: plan.content_identity(CONFIG["shift_field"]["beads"]),
    message:
        "Estimating shift fields from beads"
    script:
        "../scripts/estimate_shift_field.py"
