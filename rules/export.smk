# What the formats are, and what they are made of, stands in scripts/celltraces/exports/registry.py.
for name in FORMATS:

    rule:
        """Write one FOV in a format of another program."""
        name:
            f"export_{name}"
        input:
            **exports.export_inputs(
                EXPERIMENT,
                name,
                labels=final_labels,
                lineage_table=lineage_table,
                decisions=decisions_of,
            ),
        output:
            files=(
                list(map(directory, exports.export_paths(EXPERIMENT, name)))
                if FORMATS[name].folder
                else exports.export_paths(EXPERIMENT, name)
            ),
            checksums=LAYOUT.checksums(f"export_{name}"),
        log:
            LAYOUT.log(f"export_{name}"),
        benchmark:
            LAYOUT.benchmark(f"export_{name}")
        conda:
            "../envs/celltraces.yaml"
        resources:
            mem_mb=memory("export"),
            runtime=runtime("export"),
        params:
            settings=settings_of(f"export_{name}"),
            code=code_of("export_fov.py", module_file(name)),
        message:
            f"Exporting {{wildcards.dataset}} FOV {{wildcards.fov}}: {name}"
        script:
            "../scripts/export_fov.py"

    internals.explain(workflow, f"Write one FOV as {name}: {TITLES[name]}.")

    rule:
        """Target: a format of every FOV."""
        name:
            name
        input:
            exports_to(name),
        message:
            f"Every FOV as {name}: {LAYOUT.results}"

    internals.explain(workflow, f"Target: every FOV as {name}: {TITLES[name]}.")


for name in GROUPS:

    rule:
        """Target: formats of every FOV."""
        name:
            name
        input:
            exports_to(*formats_of(name)),
        message:
            f"Every FOV as {name}: {LAYOUT.results}"

    internals.explain(
        workflow, f"Target: every FOV as {' and as '.join(formats_of(name))}."
    )
