# In the place of digest.smk where there are no cells: no phase contrast is named, or images are only copied.
rule digest_images:
    """Shrink the images of a FOV without cells, and sum up their levels, for the report."""
    input:
        channels=[LAYOUT.frames(name) for name in ARRAYS.raw],
        backgrounds=[
            LAYOUT.frames(name)
            for name in ARRAYS.backgrounds
            if not EXPERIMENT.copy_only
        ],
    output:
        digest=LAYOUT.digest,
        checksums=LAYOUT.checksums("digest_images"),
    log:
        LAYOUT.log("digest_images"),
    benchmark:
        LAYOUT.benchmark("digest_images")
    conda:
        "../envs/celltraces.yaml"
    resources:
        mem_mb=memory("digest_images"),
        runtime=runtime("digest_images"),
    params:
        settings=settings_of("digest_images"),
        code=code_of("digest_images.py"),
    message:
        "Digesting {wildcards.dataset} FOV {wildcards.fov} for the report"
    script:
        "../scripts/digest_images.py"
