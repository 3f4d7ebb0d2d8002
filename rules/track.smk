# Stage 3: the same label for the same cell in all frames.
rule track:
    input:
        labeled=LAYOUT.frames(labeled(PC)),
    output:
        tracked=directory(LAYOUT.frames(tracked(PC))),
        checksums=LAYOUT.checksums("track"),
    log:
        LAYOUT.log("track"),
    benchmark:
        LAYOUT.benchmark("track")
    conda:
        "../envs/pyama.yaml"
    threads: 1
    resources:
        mem_mb=memory("track"),
        runtime=runtime("track"),
    params:
        **stage("track", "track_cells.py"),
    message:
        "Tracking {wildcards.dataset} FOV {wildcards.fov}"
    script:
        "../scripts/track_cells.py"
