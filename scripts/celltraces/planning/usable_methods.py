"""Refuse a method of segmentation that cannot run before the run begins, not after hours of copying."""

from __future__ import annotations

from pathlib import Path

from celltraces.config.stage_settings import is_network
from celltraces.paths import fov_text, labeled
from celltraces.planning.experiment import Experiment
from celltraces.pyme.recipe import labels_cells
from celltraces.readers.child_process import call

MEGABYTES = 64_000  # of address space, of which PyTorch takes much; not of memory


def refuse_unusable(experiment: Experiment) -> None:
    """Raise UserError where a network or its package is missing, altered, or breaks the contract of models.

    Tried in a child process, which takes a second or two, and only where cells of a FOV are still to be found.
    """
    params = experiment.config["params"]
    method = params["segmentation_method"]
    if not experiment.tracing or not (is_network(method) or method == "cellpose") or labels_cells(params["recipe"]):
        return
    found = experiment.layout.frames(labeled(experiment.pc))
    places = ((dataset.name, fov_text(fov)) for dataset in experiment.datasets.values() for fov in dataset.fovs)
    if all(Path(found.format(dataset=name, fov=fov)).exists() for name, fov in places):
        return
    call("celltraces.segmentation.learned:try_method", method, megabytes=MEGABYTES)
