"""List the files of each export format and what each export job depends on."""

from __future__ import annotations

from typing import Any

from celltraces.config.stage_settings import stage_settings
from celltraces.config.unused_keys import in_use
from celltraces.exports.registry import CELLS, EARLIER, FORMATS, LABELS, LABELS_IF_ANY, TRACES
from celltraces.paths import fl, fov_text
from celltraces.planning.dataset import Dataset
from celltraces.planning.experiment import Experiment

STEPS = ("segment", "track", "background")  # whose settings a format may name


def export_inputs(
    experiment: Experiment, name: str, *, labels: Any, lineage_table: Any, decisions: Any
) -> dict[str, Any]:
    """Inputs of a format's job by their names, as templates.

    labels, lineage_table, decisions: the functions that tell these of a job's FOV. Where there are no cells the job
    gets none of them, and says so.
    """
    layout, arrays, needs = experiment.layout, experiment.arrays, {*FORMATS[name].needs}
    inputs: dict[str, Any] = {"channels": [layout.frames(array) for array in arrays.raw]}
    if EARLIER in needs:
        earlier = [array for array in arrays.images if array not in arrays.raw + arrays.tracked]
        inputs["earlier"] = [layout.frames(array) for array in earlier]
    if experiment.tracing:
        if CELLS in needs:
            inputs["cells"] = layout.cells
        if needs & {LABELS, LABELS_IF_ANY}:
            inputs["labels"] = labels
        if needs & {LABELS, LABELS_IF_ANY, TRACES}:
            inputs["lineage_table"] = lineage_table
        if TRACES in needs:
            inputs |= {"traces": layout.traces, "decisions": decisions}
    return inputs


def export_paths(experiment: Experiment, name: str) -> list[str]:
    """Files or folders of a format, as templates."""
    layout, arrays = experiment.layout, experiment.arrays
    stands_for = {"{array}": arrays.images, "{raw}": arrays.raw, "{light}": [fl(channel) for channel in experiment.fl]}
    return [
        f"{layout.fov}/{path.format(base=layout.base, array=array, raw=array, light=array)}"
        for path in FORMATS[name].outputs
        for array in next((stands_for[word] for word in stands_for if word in path), [""])
    ]


def export_targets(experiment: Experiment, *names: str) -> list[str]:
    """These formats of every FOV."""
    templates = [path for name in names for path in export_paths(experiment, name)]
    return [
        path.format(dataset=dataset.name, fov=fov_text(fov))
        for dataset in experiment.datasets.values()
        for fov in dataset.fovs
        for path in templates
    ]


def export_settings(
    experiment: Experiment, dataset: Dataset, fov: int, name: str, scales: dict[str, Any]
) -> dict[str, Any]:
    """What a format depends on besides its inputs: params, and some of what planning knows of the FOV."""
    known = {**experiment.config["params"], **scales}
    known["source"] = dataset.identity
    known["steps"] = {step: in_use(stage_settings(experiment.config, step), experiment.config) for step in STEPS}
    chosen = {key: known[key] for key in FORMATS[name].settings}
    base = experiment.layout.base.format(dataset=dataset.name, fov=fov_text(fov))
    return {"format": name, "base": base, "settings": chosen}
