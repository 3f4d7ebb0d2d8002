# Stage 5: every cell's own small movie, in all channels.
rule crop:
    input:
        tracked=final_labels,
        channels=[LAYOUT.frames(name) for name in [pc(PC)] + ALIGNED + BACKGROUNDS],
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
        "../envs/pyama.yaml"
    threads: 1
    resources:
        mem_mb=memory("crop"),
        runtime=runtime("crop"),
    params:
        **stage("crop", "crop_cells.py"),
    message:
        "Cropping cells of {wildcards.dataset} FOV {wildcards.fov}"
    script:
        "../scripts/crop_cells.py"
