# Cells are cropped by the corrected labels where there are any, and by the tracked ones again once the file is taken
# away (final_labels in common.smk). The file is among the settings, with the identity of its content.
rule apply_corrections:
    """Apply the labels that a person corrected to a FOV that has a file in the folder `corrections`."""
    input:
        channels=rules.copy.output.frames,
        tracked=rules.track.output.tracked,
    output:
        corrected=directory(LAYOUT.frames(corrected(PC))),
        lineage=LAYOUT.lineage_corrected,
        checksums=LAYOUT.checksums("apply_corrections"),
    log:
        LAYOUT.log("apply_corrections"),
    benchmark:
        LAYOUT.benchmark("apply_corrections")
    conda:
        "../envs/celltraces.yaml"
    resources:
        mem_mb=memory("apply_corrections"),
        runtime=runtime("apply_corrections"),
    params:
        settings=settings_of("apply_corrections"),
        code=code_of("apply_corrections.py"),
    message:
        "Applying the corrections of {wildcards.dataset} FOV {wildcards.fov}"
    script:
        "../scripts/apply_corrections.py"
