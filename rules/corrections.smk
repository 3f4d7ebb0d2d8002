# Between tracking and cropping: labels that a person corrected, for the FOVs that have a file in `corrections`. Cells are
# then cropped by these; without the file they are cropped by the tracked ones again (final_labels in common.smk).
rule apply_corrections:
    input:
        correction=correction,
        channels=[LAYOUT.frames(name) for name in RAW],
        tracked=LAYOUT.frames(tracked(PC)),
    output:
        corrected=directory(LAYOUT.frames(corrected(PC))),
        lineage=LAYOUT.lineage,
        checksums=LAYOUT.checksums("apply_corrections"),
    log:
        LAYOUT.log("apply_corrections"),
    benchmark:
        LAYOUT.benchmark("apply_corrections")
    conda:
        "../envs/pyama.yaml"
    threads: 1
    resources:
        mem_mb=memory("corrections"),
        runtime=runtime("corrections"),
    params:
        **stage("corrections", "apply_corrections.py"),
        fov=lambda wildcards: int(wildcards.fov),
        identity=lambda wildcards: plan.content_identity(correction(wildcards)),
    message:
        "Applying the corrections of {wildcards.dataset} FOV {wildcards.fov}"
    script:
        "../scripts/apply_corrections.py"


# As for the other images: a display level, and the metadata that opens them in viewers.
use rule cache as cache_corrected with:
    input:
        frames=[LAYOUT.frames(corrected(PC))],
    output:
        levels=[directory(LAYOUT.frames(corrected(PC), level=1))],
        checksums=LAYOUT.checksums("cache_corrected"),
    log:
        LAYOUT.log("cache_corrected"),
    benchmark:
        LAYOUT.benchmark("cache_corrected")


use rule index as index_corrected with:
    input:
        frames=[LAYOUT.frames(corrected(PC))],
    output:
        channels=[LAYOUT.group(corrected(PC))],
        checksums=LAYOUT.checksums("index_corrected"),
    log:
        LAYOUT.log("index_corrected"),
    benchmark:
        LAYOUT.benchmark("index_corrected")
