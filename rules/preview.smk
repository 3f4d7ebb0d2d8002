# Reads the frames from the microscope's file, which is among the settings with the identity of its content, and touches
# no results.
rule preview:
    """Target: a picture of what other segmentation parameters would make of a few frames."""
    input:
        expand(f"{LAYOUT.preview}/preview.png", dataset=DATASETS),
    message:
        "Look at {input}"


rule preview_segment:
    """Segment the frames of a preview with one set of parameters."""
    output:
        labels=LAYOUT.preview_labels,
        checksums=LAYOUT.checksums("preview_segment_{parameters}", DATASET),
    log:
        LAYOUT.log("preview_segment_{parameters}", DATASET),
    benchmark:
        LAYOUT.benchmark("preview_segment_{parameters}", DATASET)
    conda:
        "../envs/celltraces.yaml"
    threads: 1  # a trained network uses as many as it is given: --set-threads preview_segment=4
    resources:
        mem_mb=trying_memory,
        runtime=trying_time,
    params:
        settings=settings_of("preview_segment"),
        code=code_of("preview_segment.py"),
    message:
        "Trying {wildcards.parameters} on frames of {wildcards.dataset}"
    script:
        "../scripts/preview_segment.py"


rule preview_compare:
    """Draw and count what the sets of parameters of a preview make of the same frames."""
    input:
        labels=segmentations_to_compare,
    output:
        picture=f"{LAYOUT.preview}/preview.png",
        sets=f"{LAYOUT.preview}/preview.csv",
        pairs=f"{LAYOUT.preview}/preview_pairs.csv",
        frames=f"{LAYOUT.preview}/preview_frames.csv",
        checksums=LAYOUT.checksums("preview_compare", DATASET),
    log:
        LAYOUT.log("preview_compare", DATASET),
    benchmark:
        LAYOUT.benchmark("preview_compare", DATASET)
    conda:
        "../envs/celltraces.yaml"
    resources:
        mem_mb=largest_fov_memory("preview_compare"),
        runtime=10,
    params:
        settings=settings_of("preview_compare"),
        code=code_of("preview_compare.py"),
    message:
        "Comparing the parameters tried on {wildcards.dataset}"
    script:
        "../scripts/preview_compare.py"
