# Stage 1: the frames of one FOV from the microscope's file into images.zarr.
# The file is a param, with the identity of its content: as an input, one whose date lies in the future (a microscope's
# clock that is ahead) would make Snakemake refuse what was copied from it.
rule copy:
    output:
        frames=directory(
            expand(LAYOUT.frames("{channel}"), channel=RAW, allow_missing=True)
        ),
        checksums=LAYOUT.checksums("copy"),
    log:
        LAYOUT.log("copy"),
    benchmark:
        LAYOUT.benchmark("copy")
    conda:
        "../envs/pyama.yaml"
    threads: 1
    resources:
        mem_mb=memory("copy"),
        runtime=runtime("copy"),
    params:
        **stage("copy", "copy_frames.py"),
        raw=planned(lambda dataset, _: dataset.path),
        fov=lambda wildcards: int(wildcards.fov),
        channels=[index for index in (PC, *FL) if index is not None],
        shape=planned(plan.shape),
        planes=planned(lambda dataset, _: plan.planes(dataset, CONFIG["z"])),
        identity=planned(lambda dataset, _: dataset.identity),
    message:
        "Copying {wildcards.dataset} FOV {wildcards.fov}"
    script:
        "../scripts/copy_frames.py"
