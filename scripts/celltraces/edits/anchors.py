"""Make the anchor of a region, and find the region of an anchor again, also after a new segmentation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from celltraces.edits.records import DOUBTFUL, LOST, Anchor
from celltraces.edits.regions import Regions
from celltraces.labels.regions import box_iou

SAME_AREA = 2.0  # factor up to which two regions at the same place may differ in area and be the same cell
SAME_BOX = 0.5  # intersection over union of their boxes from which they may be

LabelAt = Callable[[int, int, int], int]
"""(frame, y, x) -> the base label on this pixel, 0 for background."""


class NotThere(Exception):
    """An anchor that means no region of the present labels for certain. status: LOST or DOUBTFUL."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def make_anchor(regions: Regions, row: int, image: np.ndarray) -> Anchor:
    """An anchor of a region, at its pixel that is farthest from its edge.

    row: of `regions`. image: its frame of base labels, (H, W). Raises ValueError where the image does not show the
    region, as one that lies under another cell.
    """
    from celltraces.labels.distances import squared_distances

    y0, x0, y1, x1 = regions.box[row].tolist()
    mask = np.pad((image[y0:y1, x0:x1] == regions.label[row]).astype(np.uint8), 1)
    if not mask.any():
        raise ValueError(f"frame {regions.frame[row]} does not show label {regions.label[row]}")
    depth = squared_distances(mask)[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return anchor_at(regions, row, y0 + int(y), x0 + int(x))


def anchor_at(regions: Regions, row: int, y: int, x: int) -> Anchor:
    """An anchor of a region at a pixel that is known to be in it, as one that was clicked."""
    frame = int(regions.frame[row])
    return Anchor(
        n=int(regions.label[row]),
        frame=frame,
        y=y,
        x=x,
        area=int(regions.area[row]),
        box=tuple(regions.box[row].tolist()),
        labels=regions.fingerprint(frame),
    )


def find_region(regions: Regions, anchor: Anchor, label_at: LabelAt) -> int:
    """The row of the region that an anchor means: by number where the frame's labels are the same, else by place.

    Raises NotThere where there is none, or one of which it is not certain that it is the same cell.
    """
    if anchor.frame >= regions.n_frames:
        raise NotThere(LOST, f"there is no frame {anchor.frame}; the movie has {regions.n_frames}")
    unchanged = anchor.labels and anchor.labels == regions.fingerprint(anchor.frame)
    label = anchor.n if unchanged else label_at(anchor.frame, anchor.y, anchor.x)
    row = regions.row(anchor.frame, label) if label else None
    if row is None:
        raise NotThere(LOST, f"no cell is at x {anchor.x}, y {anchor.y} of frame {anchor.frame} any more")
    if not unchanged:
        area = int(regions.area[row])
        iou = float(box_iou(np.array(anchor.box), regions.box[row : row + 1])[0])
        if not (area <= SAME_AREA * anchor.area and anchor.area <= SAME_AREA * area and iou >= SAME_BOX):
            raise NotThere(
                DOUBTFUL,
                f"what is at x {anchor.x}, y {anchor.y} of frame {anchor.frame} now has {area} px in place of "
                f"{anchor.area}, and {iou:.0%} of the boxes is common",
            )
    return row
