# Pictures beside the numbers: a movie of each FOV with the cells' outlines and numbers, and plots of each dataset.
rule pictures:
    input:
        pictures,
    message:
        "Movies: {LAYOUT.fov}/; plots: {LAYOUT.pictures}/"


rule draw_overlay:
    input:
        pc=LAYOUT.frames(pc(PC)),
        tracked=final_labels,
        traces=LAYOUT.traces,
        decisions=decisions_of,
        fl=[LAYOUT.frames(name) for name in LAID_OVER],
    output:
        movie=OVERLAY,
        checksums=LAYOUT.checksums("overlay"),
    log:
        LAYOUT.log("overlay"),
    benchmark:
        LAYOUT.benchmark("overlay")
    conda:
        "../envs/pyama.yaml"
    threads: 1
    resources:
        mem_mb=memory("overlay"),
        runtime=runtime("overlay"),
    params:
        **stage("overlay", "draw_overlay.py"),
        scales=planned(lambda *job: as_json(plan.scales(*job, CONFIG["params"]))),
    message:
        "Filming the cells of {wildcards.dataset} FOV {wildcards.fov}"
    script:
        "../scripts/draw_overlay.py"


rule draw_plots:
    input:
        traces=of_all_fovs(LAYOUT.traces),
        cells=of_all_fovs(LAYOUT.cells),
        decisions=decisions_of,
    output:
        plots=list(map(for_report, PLOTS)),
        checksums=LAYOUT.checksums("plots", DATASET),
    log:
        LAYOUT.log("plots", DATASET),
    benchmark:
        LAYOUT.benchmark("plots", DATASET)
    conda:
        "../envs/pyama.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        settings=plot_settings,
        code=code_digest("draw_plots.py"),
    message:
        "Plotting the traces of {wildcards.dataset}"
    script:
        "../scripts/draw_plots.py"
