"""Export one FOV to a format of another program."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from celltraces.errors import UserError
from celltraces.exports.fov import Fov
from celltraces.exports.registry import FORMATS, LABELS, TRACES, module_of
from celltraces.labels import lineage
from celltraces.runs import job
from celltraces.storage.frames import Frames, open_frames

GIVEN = ("channels", "labels", "lineage_table", "earlier", "cells", "traces", "decisions")


def gather(
    base: str,
    settings: dict[str, Any],
    *,
    channels: Sequence[str] = (),
    labels: str | None = None,
    lineage_table: str | None = None,
    earlier: Sequence[str] = (),
    cells: str | None = None,
    traces: str | None = None,
    decisions: Sequence[str] = (),
) -> Fov:
    """Open what a format is made of."""

    def by_name(paths: Sequence[str]) -> dict[str, Frames]:
        return {Path(path).parent.name: open_frames(Path(path)) for path in paths}

    return Fov(
        base,
        by_name(channels),
        open_frames(Path(labels)) if labels else None,
        by_name(earlier),
        lineage.read_table(Path(lineage_table)) if lineage_table else {},
        Path(cells) if cells else None,
        Path(traces) if traces else None,
        decisions,
        settings,
    )


def main(name: str, fov: Fov, outputs: Sequence[str]) -> None:
    for need, there in ((LABELS, fov.labels), (TRACES, fov.traces)):
        if need in FORMATS[name].needs and there is None:
            raise UserError(f"{name} needs cells, and there are none without a phase-contrast channel (channels.pc)")
    import_module(module_of(name)).export(fov, [Path(output) for output in outputs])
    job.log.info("wrote %s", ", ".join(Path(output).name for output in outputs))


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        given = {key: snakemake.input.get(key) for key in GIVEN}
        there = {key: value for key, value in given.items() if value}
        main(settings["format"], gather(settings["base"], settings["settings"], **there), snakemake.output.files)
