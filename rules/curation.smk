# Besides its output it writes {output_dir}/curation_places/: where the cells lay when a row of curation.csv was first applied.
# That is no output, since Snakemake removes outputs before it makes them anew.
rule apply_curation:
    """Find the present cells of a FOV that a person decided on; only for FOVs where there are decisions."""
    input:
        cells=rules.crop.output.cells,
        traces=rules.extract.output.traces,
    output:
        decisions=LAYOUT.decisions,
        checksums=LAYOUT.checksums("apply_curation"),
    log:
        LAYOUT.log("apply_curation"),
    benchmark:
        LAYOUT.benchmark("apply_curation")
    conda:
        "../envs/celltraces.yaml"
    resources:
        mem_mb=merging("mem_mb"),
        runtime=10,
    params:
        settings=settings_of("apply_curation"),
        code=code_of("apply_curation.py"),
    message:
        "Finding the cells of {wildcards.dataset} FOV {wildcards.fov} that a person decided on"
    script:
        "../scripts/apply_curation.py"
