rule cache:
    """Make a small 8-bit copy of every image of a FOV, for viewers."""
    input:
        frames=[LAYOUT.frames(name) for name in ARRAYS.images],
    output:
        levels=directory(
            expand(
                LAYOUT.frames("{channel}", level=1),
                channel=ARRAYS.images,
                allow_missing=True,
            )
        ),
        checksums=LAYOUT.checksums("cache"),
    log:
        LAYOUT.log("cache"),
    benchmark:
        LAYOUT.benchmark("cache")
    conda:
        "../envs/celltraces.yaml"
    resources:
        mem_mb=memory("cache"),
        runtime=runtime("cache"),
    params:
        settings=settings_of("cache"),
        code=code_of("cache_levels.py"),
    message:
        "Making display levels of {wildcards.dataset} FOV {wildcards.fov}"
    script:
        "../scripts/cache_levels.py"


if PC is not None:

    use rule cache as cache_corrected with:
        input:
            frames=[LAYOUT.frames(corrected(PC))],
        output:
            levels=[directory(LAYOUT.frames(corrected(PC), level=1))],
            checksums=LAYOUT.checksums("cache_corrected"),
        log:
            LAYOUT.log("cache_corrected"),
        benchmark:
            LAYOUT.benchmark("cache_corrected")

    internals.explain(
        workflow, "Make a small 8-bit copy of corrected labels, for viewers."
    )

    use rule cache as cache_edited with:
        input:
            frames=[LAYOUT.frames(edited(PC))],
        output:
            levels=[directory(LAYOUT.frames(edited(PC), level=1))],
            checksums=LAYOUT.checksums("cache_edited"),
        log:
            LAYOUT.log("cache_edited"),
        benchmark:
            LAYOUT.benchmark("cache_edited")

    internals.explain(
        workflow, "Make a small 8-bit copy of edited labels, for viewers."
    )
