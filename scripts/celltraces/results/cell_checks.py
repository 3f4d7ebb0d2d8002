"""Check cells against frames: the order of frames, light beside the cells, light that is cut off."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from celltraces.frames import cut_off
from celltraces.results import channel_shift, cut_cells, frame_order
from celltraces.results.quality import Finding, Findings
from celltraces.storage.cells import Get
from celltraces.storage.frames import Frames


def check_order(fov: int, bboxes: np.ndarray, present: np.ndarray) -> Findings:
    """Frames that stand in each other's place (value: the other one); boxes and presence of cells by frame."""
    for first, second, _ in frame_order.exchanged(bboxes, present):
        yield Finding(fov, first, "frame_order", second)


def check_cut_cells(
    fov: int,
    frames: Frames,
    get: Get,
    pc: int,
    wanted: Collection[int],
    *,
    qc_saturation: float,
    qc_cell_saturation: float,
) -> Findings:
    """Frames in which light of a cell is cut off, though it is too small a share of the frame to be told by that.

    get: reads cells.zarr; wanted: the cells that are in the tables. Value: the largest share of a cell's pixels.
    """
    pieces = frames.attributes.get(cut_off.ATTRIBUTE, ())
    if not pieces:
        return
    of_frames = frames.attributes["frame_statistics"]["at_highest"]
    pieces = [piece for piece in pieces if of_frames[piece[0]] <= qc_saturation]
    for frame, share in sorted(cut_cells.shares(get, pc, pieces, wanted).items()):
        if share > qc_cell_saturation:
            yield Finding(fov, frame, f"saturated_cell_{frames.path.parent.name}", share, qc_cell_saturation)


def check_channel_shift(
    name: str,
    labeled: Mapping[int, Frames],
    light: Mapping[int, Frames],
    backgrounds: Mapping[int, Frames],
    *,
    qc_channel_shift: float,
) -> Findings:
    """A channel whose light lies beside the cells, from a frame on or in all of them (one row, for the first FOV)."""
    found = channel_shift.beside(channel_shift.shifts(labeled, light, backgrounds), qc_channel_shift)
    if found is not None:
        frame = None if found.frame < 0 else found.frame
        yield Finding(found.fov, frame, f"channel_shift_{name}", found.size, qc_channel_shift)
