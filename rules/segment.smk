rule segment:
    """Segment the cells in each phase-contrast frame."""
    input:
        pc=LAYOUT.frames(pc(PC)),
    output:
        labeled=directory(LAYOUT.frames(labeled(PC))),
        checksums=LAYOUT.checksums("segment"),
    log:
        LAYOUT.log("segment"),
    benchmark:
        LAYOUT.benchmark("segment")
    conda:
        "../envs/celltraces.yaml"
    resources:
        mem_mb=memory(resources.segmenting(CONFIG["params"]["segmentation_method"])),
        runtime=runtime(resources.segmenting(CONFIG["params"]["segmentation_method"])),
    params:
        settings=settings_of("segment"),
        code=code_of("segment_cells.py"),
    message:
        "Segmenting {wildcards.dataset} FOV {wildcards.fov}"
    script:
        "../scripts/segment_cells.py"
