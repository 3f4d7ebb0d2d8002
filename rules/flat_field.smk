# Reads the frames from the microscope's file, which is among the settings with the identity of its content: so no stage
# of a FOV waits for the copies of the others.
rule flat_field:
    """Find how evenly the field is lit, for channels that have a reference image or whose movie is to tell."""
    output:
        gains=[LAYOUT.flat_field(channel) for channel in EXPERIMENT.flat],
        summary=LAYOUT.flat_fields,
        checksums=LAYOUT.checksums("flat_field", DATASET),
    log:
        LAYOUT.log("flat_field", DATASET),
    benchmark:
        LAYOUT.benchmark("flat_field", DATASET)
    conda:
        "../envs/celltraces.yaml"
    resources:
        mem_mb=largest_fov_memory("flat_field"),
        runtime=60,
    params:
        settings=settings_of("flat_field"),
        code=code_of("estimate_flat_field.py"),
    message:
        "Finding the flat field of {wildcards.dataset}"
    script:
        "../scripts/estimate_flat_field.py"


rule flatten:
    """Divide the fluorescence frames by the flat field of their channel."""
    input:
        fl=[LAYOUT.frames(fl(channel)) for channel in EXPERIMENT.flat],
        gains=rules.flat_field.output.gains,
        summary=rules.flat_field.output.summary,
    output:
        flat=directory(
            expand(LAYOUT.frames("{channel}"), channel=ARRAYS.flat, allow_missing=True)
        ),
        checksums=LAYOUT.checksums("flatten"),
    log:
        LAYOUT.log("flatten"),
    benchmark:
        LAYOUT.benchmark("flatten")
    conda:
        "../envs/celltraces.yaml"
    resources:
        mem_mb=memory("flatten"),
        runtime=runtime("flatten"),
    params:
        settings=settings_of("flatten"),
        code=code_of("flatten_channels.py"),
    message:
        "Flattening channels of {wildcards.dataset} FOV {wildcards.fov}"
    script:
        "../scripts/flatten_channels.py"
