rule extract:
    """Measure the features of every cell in every frame, leave out what the filters say, and write the table."""
    input:
        cells=rules.crop.output.cells,
        lineage=lineage_table,
    output:
        traces=LAYOUT.traces,
        checksums=LAYOUT.checksums("extract"),
    log:
        LAYOUT.log("extract"),
    benchmark:
        LAYOUT.benchmark("extract")
    conda:
        "../envs/celltraces.yaml"
    resources:
        mem_mb=memory("extract"),
        runtime=runtime("extract"),
    params:
        settings=settings_of("extract"),
        code=code_of("extract_features.py"),
    message:
        "Extracting traces of {wildcards.dataset} FOV {wildcards.fov}"
    script:
        "../scripts/extract_features.py"
