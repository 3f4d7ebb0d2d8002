"""Segment with Cellpose, an optional package: version 3, whose networks are small, or 4, whose network is large."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from celltraces.errors import UserError

SERVED = ("3", "4")  # major versions
INSTALL = ".venv/bin/pip install cellpose"
DEFAULT_OF_3 = "cyto3"  # its own default is a network without weights
MOST_NAMED = 12  # names of models in a message

log = logging.getLogger("celltraces")


def installed() -> str:
    """The version of Cellpose. Raises UserError where it is not installed, or what it needs, or another version is."""
    try:
        import torch  # noqa: F401
        from cellpose import models  # noqa: F401
    except ImportError as error:
        what = "cellpose is not installed" if error.name in ("cellpose", "torch") else f"cellpose needs {error.name}"
        raise UserError(f"params.segmentation_method: {what}; run `{INSTALL}`") from None
    version = metadata.version("cellpose")
    if version.partition(".")[0] not in SERVED:
        raise UserError(
            f"params.segmentation_method: cellpose {version} is installed; allowed: versions 3 and 4; run `{INSTALL}`"
        )
    return version


def cellpose_segmenter(
    min_object_size: int, model_name: str | None = None, diameter: float | None = None
) -> Callable[[np.ndarray], np.ndarray]:
    """segment(frame): (H, W) -> (H, W) int64 labels by Cellpose, on a GPU where there is one, else by OpenCV's threads.

    `model_name`: one of Cellpose's models or the file of one; None: its default. `diameter` of the cells, px; None:
    that of the cells which the model was trained on. Raises UserError where the package or the model cannot be had, and
    where a frame does not fit into the GPU's memory.
    """
    version = installed()
    import torch
    from cellpose import models

    major = version.partition(".")[0]
    if model_name is None and major == "3":
        model_name = DEFAULT_OF_3
    if model_name is not None:
        _refuse_unknown(model_name, models, version)
    threads = max(1, cv2.getNumThreads())
    torch.set_num_threads(threads)
    try:
        model = models.CellposeModel(gpu=True, **({} if model_name is None else {"pretrained_model": model_name}))
    except Exception as error:  # of a file that holds something else, or a download that fails
        reason = " ".join(str(error).split())[:200]
        shown = "Cellpose's default model" if model_name is None else repr(model_name)
        raise UserError(
            f"params.cellpose_model: {shown} cannot be loaded ({type(error).__name__}: {reason}); name the file "
            f"of a model that cellpose {version} can read, or, where there is a network, one of its models"
        ) from None
    if major == "3":
        _refuse_other_layers(model, torch, version)
    log.info(
        "cellpose %s, model %s, on %s", version, Path(str(model.pretrained_model)).name, _device(model, torch, threads)
    )
    sized: dict[str, Any] = {} if diameter is None else {"diameter": diameter}

    def segment(frame: np.ndarray) -> np.ndarray:
        if frame.min() == frame.max():
            return np.zeros(frame.shape, np.int64)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of torch, meant for who writes programs
                masks = model.eval(frame, min_size=min_object_size, **sized)[0]
        except torch.cuda.OutOfMemoryError:
            raise UserError(
                "params.segmentation_method: cellpose needs more memory than is free on the GPU; let fewer jobs use it "
                "at once (`--set-threads segment=8`), or none: set the variable CUDA_VISIBLE_DEVICES to nothing"
            ) from None
        return np.asarray(masks, np.int64).reshape(frame.shape)

    return segment


def _device(model: Any, torch: Any, threads: int) -> str:
    """Where the model runs, for the log."""
    kind = model.device.type
    if kind == "cuda":
        return f"the GPU {torch.cuda.get_device_name()}"
    if kind != "cpu":
        return f"the GPU ({kind})"
    return f"the CPU, {threads} thread(s), since PyTorch {torch.__version__} sees no GPU that it can use"


def _refuse_unknown(model_name: str, models: Any, version: str) -> None:
    """Raise UserError for a model that is neither a file nor known by name: Cellpose would take its default instead."""
    known = [*models.get_user_models(), *models.MODEL_NAMES]
    if not os.path.isfile(model_name) and model_name not in known:
        more = ", ..." if len(known) > MOST_NAMED else ""
        raise UserError(
            f"params.cellpose_model: {model_name!r} is neither a file nor a model of cellpose {version}; "
            f"allowed: the path of a file, or {', '.join(known[:MOST_NAMED])}{more}"
        )


def _refuse_other_layers(model: Any, torch: Any, version: str) -> None:
    """Raise UserError for a file without numbers for all layers: Cellpose 3 leaves the others as chance made them."""
    stated = torch.load(model.pretrained_model, map_location="cpu", weights_only=True)
    own = {
        name
        for name in model.net.state_dict()
        if not name.startswith("diam_") and not name.endswith("num_batches_tracked")
    }
    if absent := sorted(own - set(stated)):
        raise UserError(
            f"params.cellpose_model: {str(model.pretrained_model)!r} lacks {len(absent)} of the {len(own)} layers of "
            f"cellpose {version}, the first {absent[0]}; name the file of a model that this version wrote"
        )
