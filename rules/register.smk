rule register:
    """Lay the fluorescence frames over the phase contrast, for channels that have a shift field."""
    input:
        fl=[LAYOUT.frames(name) for name in ARRAYS.to_register],
    output:
        registered=directory(
            expand(
                LAYOUT.frames("{channel}"),
                channel=ARRAYS.registered,
                allow_missing=True,
            )
        ),
        checksums=LAYOUT.checksums("register"),
    log:
        LAYOUT.log("register"),
    benchmark:
        LAYOUT.benchmark("register")
    conda:
        "../envs/celltraces.yaml"
    resources:
        mem_mb=memory("register"),
        runtime=runtime("register"),
    params:
        settings=settings_of("register"),
        code=code_of("register_channels.py"),
    message:
        "Registering channels of {wildcards.dataset} FOV {wildcards.fov}"
    script:
        "../scripts/register_channels.py"
