# Before the run: what other segmentation parameters would make of a few frames, as a picture to look at. Reads these
# frames from the microscope's file, which is a param with the identity of its content, and touches no results.
rule preview:
    input:
        expand(f"{LAYOUT.preview}/preview.png", dataset=DATASETS),
    message:
        "Look at {input}"


rule preview_segment:
    output:
        labels=LAYOUT.preview_labels,
    log:
        LAYOUT.log("preview/{parameters}", DATASET),
    benchmark:
        LAYOUT.benchmark("preview/{parameters}", DATASET)
    conda:
        "../envs/pyama.yaml"
    threads: 1
    resources:
        mem_mb=largest_fov_memory("segment"),
        runtime=10,
    params:
        settings=preview_segment_settings,
        code=code_digest("preview_segment.py"),
        raw=planned(lambda dataset, _: dataset.path),
        identity=planned(lambda dataset, _: dataset.identity),
    message:
        "Trying {wildcards.parameters} on frames of {wildcards.dataset}"
    script:
        "../scripts/preview_segment.py"


rule preview_compare:
    input:
        labels=preview_labels,
    output:
        picture=f"{LAYOUT.preview}/preview.png",
        sets=f"{LAYOUT.preview}/preview.csv",
        frames=f"{LAYOUT.preview}/preview_frames.csv",
    log:
        LAYOUT.log("preview/compare", DATASET),
    benchmark:
        LAYOUT.benchmark("preview/compare", DATASET)
    conda:
        "../envs/pyama.yaml"
    threads: 1
    resources:
        mem_mb=largest_fov_memory("preview_compare"),
        runtime=10,
    params:
        settings=preview_compare_settings,
        code=code_digest("preview_compare.py"),
        raw=planned(lambda dataset, _: dataset.path),
        identity=planned(lambda dataset, _: dataset.identity),
    message:
        "Comparing the parameters tried on {wildcards.dataset}"
    script:
        "../scripts/preview_compare.py"
