# Cells are cropped along the edited labels where a person edited tracks, and along the tracked or corrected ones again once
# the edits are taken back (final_labels in common.smk). The edits are among the settings; planning reads them once.
rule apply_edits:
    """Apply a person's edits of tracks to the labels of a FOV; only for FOVs that have some."""
    input:
        base=base_labels,
        lineage=base_lineage,
    output:
        edited=directory(LAYOUT.frames(edited(PC))),
        lineage=LAYOUT.lineage_edited,
        regions=LAYOUT.base_regions,
        checksums=LAYOUT.checksums("apply_edits"),
    log:
        LAYOUT.log("apply_edits"),
    benchmark:
        LAYOUT.benchmark("apply_edits")
    conda:
        "../envs/celltraces.yaml"
    resources:
        mem_mb=memory("apply_edits"),
        runtime=runtime("apply_edits"),
    params:
        settings=settings_of("apply_edits"),
        code=code_of("apply_edits.py"),
    message:
        "Applying the edits of tracks of {wildcards.dataset} FOV {wildcards.fov}"
    script:
        "../scripts/apply_edits.py"
