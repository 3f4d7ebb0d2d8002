# Stage 4: what each fluorescence frame would look like without cells.
rule background:
    input:
        fl=expand(LAYOUT.frames("{channel}"), channel=ALIGNED, allow_missing=True),
        labeled=[LAYOUT.frames(name) for name in LABELED],
    output:
        background=directory(
            expand(LAYOUT.frames("{channel}"), channel=BACKGROUNDS, allow_missing=True)
        ),
        checksums=LAYOUT.checksums("background"),
    log:
        LAYOUT.log("background"),
    benchmark:
        LAYOUT.benchmark("background")
    conda:
        "../envs/pyama.yaml"
    threads: 1
    resources:
        mem_mb=memory("background"),
        runtime=runtime("background"),
    params:
        **stage("background", "estimate_background.py"),
    message:
        "Estimating background of {wildcards.dataset} FOV {wildcards.fov}"
    script:
        "../scripts/estimate_background.py"
