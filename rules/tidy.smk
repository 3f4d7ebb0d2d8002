rule tidy:
    """Put the good traces of all FOVs of a dataset into one table, all cells into another, and how the stage moved."""
    input:
        traces=of_all_fovs(LAYOUT.traces),
        decisions=decisions_of,
        cells=of_all_fovs(LAYOUT.cells),
        pc=of_all_fovs(LAYOUT.frames(pc(PC))),
        tracked=of_all_fovs(LAYOUT.frames(tracked(PC))),
        lineages=of_each_fov(lineage_table),
    output:
        csv=f"{LAYOUT.tidy}.csv",
        parquet=f"{LAYOUT.tidy}.parquet",
        cells=LAYOUT.cell_list,
        movement=LAYOUT.stage_movement,
        checksums=LAYOUT.checksums("tidy", DATASET),
    log:
        LAYOUT.log("tidy", DATASET),
    benchmark:
        LAYOUT.benchmark("tidy", DATASET)
    conda:
        "../envs/celltraces.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        settings=settings_of("tidy"),
        code=code_of("tidy_traces.py"),
    message:
        "Putting all traces of {wildcards.dataset} into one table"
    script:
        "../scripts/tidy_traces.py"
