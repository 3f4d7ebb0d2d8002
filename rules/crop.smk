rule crop:
    """Cut out every cell's own small movie, in all channels, along its final labels."""
    input:
        tracked=final_labels,
        channels=[
            LAYOUT.frames(name)
            for name in (pc(PC), *ARRAYS.aligned, *ARRAYS.backgrounds)
        ],
    output:
        cells=(
            LAYOUT.cells if LAYOUT.cells.endswith(".zip") else directory(LAYOUT.cells)
        ),
        checksums=LAYOUT.checksums("crop"),
    log:
        LAYOUT.log("crop"),
    benchmark:
        LAYOUT.benchmark("crop")
    conda:
        "../envs/celltraces.yaml"
    resources:
        mem_mb=memory("crop"),
        runtime=runtime("crop"),
    params:
        settings=settings_of("crop"),
        code=code_of("crop_cells.py"),
    message:
        "Cropping cells of {wildcards.dataset} FOV {wildcards.fov}"
    script:
        "../scripts/crop_cells.py"
