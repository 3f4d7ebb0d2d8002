FINDS_SCALE = tried_segmentation.finds_scale(CONFIG)


if FINDS_SCALE:

    # Reads frames from the microscope's file, which is among the settings, with the identity of its content.
    rule find_scale:
        """Find the scale at which a network is to see all frames of a dataset, by the size of the cells on a few."""
        output:
            scale=LAYOUT.scale,
            checksums=LAYOUT.checksums("find_scale", DATASET),
        log:
            LAYOUT.log("find_scale", DATASET),
        benchmark:
            LAYOUT.benchmark("find_scale", DATASET)
        conda:
            "../envs/celltraces.yaml"
        threads: 1  # a trained network uses as many as it is given: --set-threads find_scale=4
        resources:
            mem_mb=largest_fov_memory("segment_learned"),
            runtime=10,
        params:
            settings=settings_of("find_scale"),
            code=code_of("find_scale.py"),
        message:
            "Finding the scale for {wildcards.dataset}"
        script:
            "../scripts/find_scale.py"


rule segment:
    """Segment the cells in each phase-contrast frame."""
    input:
        pc=LAYOUT.frames(pc(PC)),
        scale=LAYOUT.scale if FINDS_SCALE else [],
    output:
        labeled=directory(LAYOUT.frames(labeled(PC))),
        checksums=LAYOUT.checksums("segment"),
    log:
        LAYOUT.log("segment"),
    benchmark:
        LAYOUT.benchmark("segment")
    conda:
        "../envs/celltraces.yaml"
    threads: 1  # a trained network uses as many as it is given: --set-threads segment=4
    resources:
        mem_mb=memory(resources.segmenting(CONFIG["params"])),
        runtime=runtime(resources.segmenting(CONFIG["params"])),
    params:
        settings=settings_of("segment"),
        code=code_of("segment_cells.py"),
    message:
        "Segmenting {wildcards.dataset} FOV {wildcards.fov}"
    script:
        "../scripts/segment_cells.py"
