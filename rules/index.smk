# No other rule writes above its own array, so that jobs of one FOV never write the same file.
rule index:
    """Write the group metadata of images.zarr, from its arrays, so that viewers open them with axes and scales."""
    input:
        frames=[LAYOUT.frames(name) for name in ARRAYS.images],
    output:
        root=LAYOUT.group(),
        channels=expand(
            LAYOUT.group("{channel}"), channel=ARRAYS.images, allow_missing=True
        ),
        checksums=LAYOUT.checksums("index"),
    log:
        LAYOUT.log("index"),
    benchmark:
        LAYOUT.benchmark("index")
    localrule: True
    conda:
        "../envs/celltraces.yaml"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        settings=settings_of("index"),
        code=code_of("index_images.py"),
    message:
        "Indexing images of {wildcards.dataset} FOV {wildcards.fov}"
    script:
        "../scripts/index_images.py"


if PC is not None:

    use rule index as index_corrected with:
        input:
            frames=[LAYOUT.frames(corrected(PC))],
        output:
            channels=[LAYOUT.group(corrected(PC))],
            checksums=LAYOUT.checksums("index_corrected"),
        log:
            LAYOUT.log("index_corrected"),
        benchmark:
            LAYOUT.benchmark("index_corrected")

    internals.explain(
        workflow, "Write the group metadata of corrected labels, for viewers."
    )

    use rule index as index_edited with:
        input:
            frames=[LAYOUT.frames(edited(PC))],
        output:
            channels=[LAYOUT.group(edited(PC))],
            checksums=LAYOUT.checksums("index_edited"),
        log:
            LAYOUT.log("index_edited"),
        benchmark:
            LAYOUT.benchmark("index_edited")

    internals.explain(
        workflow, "Write the group metadata of edited labels, for viewers."
    )
