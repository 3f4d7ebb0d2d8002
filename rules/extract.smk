# Stage 6: features of every cell in every frame, filtered, as a table.
rule extract:
    input:
        cells=LAYOUT.cells,
        lineage=lineage_table,
    output:
        traces=LAYOUT.traces,
        checksums=LAYOUT.checksums("extract"),
    log:
        LAYOUT.log("extract"),
    benchmark:
        LAYOUT.benchmark("extract")
    conda:
        "../envs/pyama.yaml"
    threads: 1
    resources:
        mem_mb=memory("extract"),
        runtime=runtime("extract"),
    params:
        **stage("extract", "extract_features.py"),
        fov=lambda wildcards: int(wildcards.fov),
        pc=PC,
        features=as_json(plan.features_of(CONFIG, PC, FL)),
    message:
        "Extracting traces of {wildcards.dataset} FOV {wildcards.fov}"
    script:
        "../scripts/extract_features.py"
