# After extraction, for the FOVs on which a person decided something: which of the present cells is meant. Besides the
# output it writes {output_dir}/curation_places/: where the cells lay when a row of curation.csv was first applied. That is
# no output, since Snakemake removes outputs before it makes them anew.
rule apply_curation:
    input:
        cells=LAYOUT.cells,
        traces=LAYOUT.traces,
    output:
        decisions=LAYOUT.decisions,
        checksums=LAYOUT.checksums("curation"),
    log:
        LAYOUT.log("curation"),
    benchmark:
        LAYOUT.benchmark("curation")
    conda:
        "../envs/pyama.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: attempt
        * resources.merging(DATASETS[wildcards.dataset].movie, [int(wildcards.fov)])[
            "mem_mb"
        ],
        runtime=10,
    params:
        **stage("curation", "apply_curation.py"),
        pc=PC,
        decided=lambda wildcards: decided(wildcards.dataset, int(wildcards.fov)),
    message:
        "Finding the cells of {wildcards.dataset} FOV {wildcards.fov} that a person decided on"
    script:
        "../scripts/apply_curation.py"
