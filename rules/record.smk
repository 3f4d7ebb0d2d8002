rule record:
    """Record params and channels as the stages use them, and where the data came from, in processing_config.yaml."""
    output:
        record=LAYOUT.record,
        checksums=LAYOUT.checksums("record", DATASET),
    log:
        LAYOUT.log("record", DATASET),
    benchmark:
        LAYOUT.benchmark("record", DATASET)
    localrule: True
    conda:
        "../envs/celltraces.yaml"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        settings=settings_of("record"),
        code=code_of("record_config.py"),
    message:
        "Recording the configuration of {wildcards.dataset}"
    script:
        "../scripts/record_config.py"
