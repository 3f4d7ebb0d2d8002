# Stage 7: small 8-bit copies of all images, for viewers.
rule cache:
    input:
        frames=[LAYOUT.frames(name) for name in IMAGES],
    output:
        levels=directory(
            expand(
                LAYOUT.frames("{channel}", level=1), channel=IMAGES, allow_missing=True
            )
        ),
        checksums=LAYOUT.checksums("cache"),
    log:
        LAYOUT.log("cache"),
    benchmark:
        LAYOUT.benchmark("cache")
    conda:
        "../envs/pyama.yaml"
    threads: 1
    resources:
        mem_mb=memory("cache"),
        runtime=runtime("cache"),
    params:
        **stage("cache", "cache_levels.py"),
    message:
        "Making display levels of {wildcards.dataset} FOV {wildcards.fov}"
    script:
        "../scripts/cache_levels.py"
