# Stage 2: where the cells are in each phase-contrast frame.
rule segment:
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
        "../envs/pyama.yaml"
    threads: 1
    resources:
        mem_mb=memory("segment"),
        runtime=runtime("segment"),
    params:
        **stage("segment", "segment_cells.py"),
    message:
        "Segmenting {wildcards.dataset} FOV {wildcards.fov}"
    script:
        "../scripts/segment_cells.py"
