rule background:
    """Estimate the background of each fluorescence frame, from what lies outside the segmented cells."""
    input:
        fl=expand(
            LAYOUT.frames("{channel}"), channel=ARRAYS.aligned, allow_missing=True
        ),
        labeled=[LAYOUT.frames(name) for name in ARRAYS.labeled],
    output:
        background=directory(
            expand(
                LAYOUT.frames("{channel}"),
                channel=ARRAYS.backgrounds,
                allow_missing=True,
            )
        ),
        checksums=LAYOUT.checksums("background"),
    log:
        LAYOUT.log("background"),
    benchmark:
        LAYOUT.benchmark("background")
    conda:
        "../envs/celltraces.yaml"
    resources:
        mem_mb=memory("background"),
        runtime=runtime("background"),
    params:
        settings=settings_of("background"),
        code=code_of("estimate_background.py"),
    message:
        "Estimating background of {wildcards.dataset} FOV {wildcards.fov}"
    script:
        "../scripts/estimate_background.py"
