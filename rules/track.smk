rule track:
    """Give a cell the same label in all frames, and find the cells that divide."""
    input:
        labeled=rules.segment.output.labeled,
    output:
        tracked=directory(LAYOUT.frames(tracked(PC))),
        lineage=LAYOUT.lineage,
        checksums=LAYOUT.checksums("track"),
    log:
        LAYOUT.log("track"),
    benchmark:
        LAYOUT.benchmark("track")
    conda:
        "../envs/celltraces.yaml"
    resources:
        mem_mb=memory("track"),
        runtime=runtime("track"),
    params:
        settings=settings_of("track"),
        code=code_of("track_cells.py"),
    message:
        "Tracking {wildcards.dataset} FOV {wildcards.fov}"
    script:
        "../scripts/track_cells.py"
