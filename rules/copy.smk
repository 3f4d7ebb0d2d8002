# The microscope's file is among the settings, with the identity of its content. It is no input: where its date lies in the
# future (a clock that is ahead), Snakemake would refuse what was copied from it.
rule copy:
    """Copy the frames of one FOV from the microscope's file into images.zarr."""
    output:
        frames=directory(
            expand(LAYOUT.frames("{channel}"), channel=ARRAYS.raw, allow_missing=True)
        ),
        checksums=LAYOUT.checksums("copy"),
    log:
        LAYOUT.log("copy"),
    benchmark:
        LAYOUT.benchmark("copy")
    conda:
        "../envs/celltraces.yaml"
    resources:
        mem_mb=memory("copy"),
        runtime=runtime("copy"),
    params:
        settings=settings_of("copy"),
        code=code_of("copy_frames.py"),
    message:
        "Copying {wildcards.dataset} FOV {wildcards.fov}"
    script:
        "../scripts/copy_frames.py"
