# Besides its output it writes {output_dir}/curation_places/: where the cells lay when a row of curation.csv was first applied.
# That is no output, since Snakemake removes outputs before it makes them anew.
rule apply_curation:
    """Find the present cells of a FOV that a person decided on; only for FOVs where there are decisions."""
    input:
        cells=rules.crop.output.cells,
        traces=rules.extract.output.traces,
        base=lambda wildcards: (
            base_labels(wildcards) if edits_of(wildcards).decisions else []
        ),
        base_regions=lambda wildcards: (
            LAYOUT.base_regions
            if edits_of(wildcards).decisions and edits_of(wildcards).tracks
            else []
        ),
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


rule extract_taken_in:
    """Measure the cells that a person took in although a filter leaves them out."""
    input:
        cells=rules.crop.output.cells,
        traces=rules.extract.output.traces,
        decisions=rules.apply_curation.output.decisions,
        lineage=lineage_table,
    output:
        taken_in=LAYOUT.taken_in,
        checksums=LAYOUT.checksums("extract_taken_in"),
    log:
        LAYOUT.log("extract_taken_in"),
    benchmark:
        LAYOUT.benchmark("extract_taken_in")
    conda:
        "../envs/celltraces.yaml"
    resources:
        mem_mb=memory("extract"),
        runtime=runtime("extract"),
    params:
        settings=settings_of("extract_taken_in"),
        code=code_of("extract_taken_in.py"),
    message:
        "Measuring cells of {wildcards.dataset} FOV {wildcards.fov} that a person took in"
    script:
        "../scripts/extract_taken_in.py"


rule list_edits:
    """List what became of a person's edits on a dataset; only where there are edits."""
    input:
        cells=of_fovs_with_edits(LAYOUT.cells),
        base=of_fovs_with_edits(base_labels),
        base_regions=of_fovs_with_edits(LAYOUT.base_regions, tracks=True),
    output:
        edits=LAYOUT.edits_outcomes,
        checksums=LAYOUT.checksums("list_edits", DATASET),
    log:
        LAYOUT.log("list_edits", DATASET),
    benchmark:
        LAYOUT.benchmark("list_edits", DATASET)
    conda:
        "../envs/celltraces.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        settings=settings_of("list_edits"),
        code=code_of("list_edits.py"),
    message:
        "Listing what became of the edits on {wildcards.dataset}"
    script:
        "../scripts/list_edits.py"
