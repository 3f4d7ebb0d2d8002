rule pictures:
    """Target: a movie of each FOV with the cells' outlines and numbers, and plots of each dataset."""
    input:
        pictures,
    message:
        "Movies and plots: {LAYOUT.results}"


rule draw_overlay:
    """Draw a movie of a FOV: phase contrast with the outlines and numbers of its cells."""
    input:
        pc=LAYOUT.frames(pc(PC)),
        tracked=final_labels,
        traces=rules.extract.output.traces,
        decisions=decisions_of,
        cells=rules.crop.output.cells,
        lineage=lineage_table,
        fl=[LAYOUT.frames(name) for name in ARRAYS.laid_over],
    output:
        movie=planned.overlay(EXPERIMENT),
        checksums=LAYOUT.checksums("draw_overlay"),
    log:
        LAYOUT.log("draw_overlay"),
    benchmark:
        LAYOUT.benchmark("draw_overlay")
    conda:
        "../envs/celltraces.yaml"
    resources:
        mem_mb=memory("draw_overlay"),
        runtime=runtime("draw_overlay"),
    params:
        settings=settings_of("draw_overlay"),
        code=code_of("draw_overlay.py"),
    message:
        "Drawing the movie of {wildcards.dataset} FOV {wildcards.fov}"
    script:
        "../scripts/draw_overlay.py"


rule draw_plots:
    """Plot the traces of a dataset, their distributions and the numbers of cells."""
    input:
        traces=of_all_fovs(LAYOUT.traces),
        cells=of_all_fovs(LAYOUT.cells),
        decisions=decisions_of,
    output:
        plots=list(map(for_report, planned.plots(LAYOUT, EXPERIMENT.columns))),
        checksums=LAYOUT.checksums("draw_plots", DATASET),
    log:
        LAYOUT.log("draw_plots", DATASET),
    benchmark:
        LAYOUT.benchmark("draw_plots", DATASET)
    conda:
        "../envs/celltraces.yaml"
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        settings=settings_of("draw_plots"),
        code=code_of("draw_plots.py"),
    message:
        "Plotting the traces of {wildcards.dataset}"
    script:
        "../scripts/draw_plots.py"
