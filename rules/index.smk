# The group metadata of images.zarr, with OME-NGFF, once its arrays are there: viewers open it with axes and scales.
# No other rule writes above its own array, so that jobs of one FOV never write the same file.
rule index:
    input:
        frames=[LAYOUT.frames(name) for name in IMAGES],
    output:
        root=LAYOUT.group(),
        channels=expand(LAYOUT.group("{channel}"), channel=IMAGES, allow_missing=True),
        checksums=LAYOUT.checksums("index"),
    log:
        LAYOUT.log("index"),
    benchmark:
        LAYOUT.benchmark("index")
    localrule: True
    conda:
        "../envs/pyama.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=5,
    params:
        **stage("index", "index_images.py"),
        scales=planned(lambda *job: as_json(plan.scales(*job, CONFIG["params"]))),
    message:
        "Indexing images of {wildcards.dataset} FOV {wildcards.fov}"
    script:
        "../scripts/index_images.py"
