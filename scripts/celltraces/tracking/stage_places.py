"""Decide where each frame of a movie lies, so that linking compares regions at the places where the stage took them.

The stage's displacement is measured in the pictures (`frames.stage_movement`). What is measured may be wrong, as when
things move that are no cells; so it counts where it explains the regions about as well as no displacement does. Where
it is unknown or refused, and the regions overlap those before hardly at all, a displacement that nearly all regions
have in common is looked for in their boxes. A frame that is found nowhere, and whose picture is unlike those before,
shows another place: nothing in it is linked with what others show.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from celltraces.frames.stage_movement import bin_width, displacements, other_places
from celltraces.tracking.box_pairs import box_sizes, in_window, shared_boxes, shared_window

ATTRIBUTE = "stage_places"  # of the array of tracked labels
LEAST_STEP = 2.0  # px: a frame that moves by no more lies still; the displacement is measured no better
AS_WELL = (
    0.75  # of how well no displacement explains the regions: a grid of cells fits itself after a jump by its width
)
POOR = 0.35  # regions that are explained better than this without a displacement have none but the measured one
COMMON, LEAST_COMMON = 0.75, 6  # share and number of regions that have to have a displacement in common
ALONE = 0.75  # times as well as by that explain others the regions; else it may be the next one of a grid
SAME = 0.5  # IoU of boxes of the same cell
LIKE = 0.3  # relative difference of the sides of boxes of the same cell
CANDIDATES = 5

PlaceOf = Callable[[np.ndarray, tuple[int, ...]], tuple[np.ndarray, int]]


def still(shape: Sequence[int]) -> float:
    """Pixels by which a frame (H, W) may be displaced along an axis and still counts as unmoved."""
    return max(LEAST_STEP, bin_width(shape) / 2)


def place_finder(movement: Mapping[str, Sequence[Any]] | None) -> PlaceOf:
    """A function that is given the boxes of one frame after the other: place_of(bbox, shape) -> ((y, x), scene).

    movement: as `displacement.follower` measured it; None where it was not. bbox: (N, 4) half-open boxes of the
    frame's regions; shape: (H, W). The place is that of the first frame's contents in this frame, (2,) whole pixels.
    The scene is the same number in all frames that have anything in common: 0, or the frame that first shows another.
    """
    foreign = set(other_places(movement)) if movement else set()
    steps = displacements(movement) if movement else np.zeros((0, 2))
    # Frames that a later one may be measured against: the last that was measured, and those after it.
    seen: dict[int, tuple[np.ndarray, np.ndarray, int]] = {}
    left: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # the last boxes and place of a scene that the stage left
    frame, place, scene = -1, np.zeros(2, np.int64), 0

    def place_of(bbox: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, int]:
        nonlocal frame, place, scene
        frame += 1
        measured = steps[frame] if frame < len(steps) else np.full(2, np.nan)
        known = bool(np.isfinite(measured).all())
        since = movement["since"][frame] if known else frame - 1
        before, start, scene = seen.get(since, (bbox, place, scene))
        step = _step(before, bbox, measured if known else np.zeros(2), shape)
        place = start + step
        if frame in foreign and not step.any() and _explained(before, bbox, step, shape) < POOR:
            left[scene] = before, start
            back = [one for one, (boxes, _) in left.items() if _explained(boxes, bbox, step, shape) > SAME]
            scene = back[-1] if back else frame
            place = left[scene][1] if back else place
        if known:
            seen.clear()
        seen[frame] = bbox, place, scene
        return place, scene

    return place_of


def followed(
    movement: Mapping[str, Sequence[Any]], linked: np.ndarray | None = None, still_px: float = 0.0
) -> np.ndarray:
    """Where each frame lies, (T, 2) float64 pixels: the place (y, x) of the first frame's contents in it.

    movement: as `displacement.follower` measured it. A frame of which nothing is known lies where the one before did.
    linked: (T, 2) whole pixels, the places that linking used; where a displacement by them is not, to within still_px,
    the one that was measured, linking refused that one or found another, and theirs counts.
    """
    steps = displacements(movement)
    places = np.zeros_like(steps)
    for frame in range(1, len(steps)):
        known = bool(np.isfinite(steps[frame]).all())
        since = movement["since"][frame] if known else frame - 1
        step = steps[frame] if known else np.zeros(2)
        if linked is not None:
            used = linked[frame] - linked[since]
            step = step if known and np.abs(step - used).max() <= still_px else used
        places[frame] = places[since] + step
    return places


def places_attribute(
    places: Sequence[tuple[int, int] | None], movement: Mapping[str, Sequence[Any]] | None, shape: Sequence[int]
) -> dict[str, list[tuple[int, int]]]:
    """ATTRIBUTE with the places (y, x) of a movie's frames (H, W) that linking used.

    Nothing if it used none, unless it refused what was measured, and for a method that did not ask for them.
    """
    steps = np.nan_to_num(displacements(movement)) if movement else np.zeros((1, 2))
    asked = all(place is not None for place in places)
    if not asked or not (np.any(places) or np.abs(steps).max(initial=0) > still(shape)):
        return {}
    return {ATTRIBUTE: list(places)}


def _step(before: np.ndarray, after: np.ndarray, measured: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """By how many pixels (y, x) linking takes the frame with boxes `after` to be displaced; whole pixels, (2,)."""
    unmoved = np.zeros(2, np.int64)
    step = np.rint(measured).astype(np.int64) if np.abs(measured).max() > still(shape) else unmoved
    if step.any():
        enough = _explained(before, after, unmoved, shape)
        if np.abs(step).max() > _usual_side(before):  # no cell lies nearer to its neighbour
            enough *= AS_WELL
        if _explained(before, after, step, shape) < enough:
            step = unmoved
    return step if step.any() else _common_step(before, after, shape)


def _usual_side(bbox: np.ndarray) -> float:
    """Median side of the boxes, in pixels; 0 if there is none."""
    return float(np.median(bbox[:, 2:] - bbox[:, :2])) if len(bbox) else 0.0


def _explained(before: np.ndarray, after: np.ndarray, step: np.ndarray, shape: tuple[int, ...]) -> float:
    """How well boxes of two frames overlap when `after` is displaced by step: 0 to 1.

    Mean IoU of each with the one that it overlaps most, of those whose greater part lies where both frames show the
    same; less where these are few.
    """
    best = _best_overlaps(before, after, step, shape)
    values = np.concatenate(best)
    return float(values.sum() / (values.size + 2))


def _best_overlaps(
    before: np.ndarray, after: np.ndarray, step: np.ndarray, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """For each box of `before`, and of `after`, that lies for the greater part in both frames, its highest IoU."""
    cut = before, after
    if step.any():
        window = shared_window(step, shape)
        cut = in_window(before, step, window), in_window(after, np.zeros(2, np.int64), window)
    sizes = [box_sizes(boxes) for boxes in cut]
    i, j, shared = shared_boxes(*cut)
    iou = shared / (sizes[0][i] + sizes[1][j] - shared)
    found = []
    for boxes, size, at in ((before, sizes[0], i), (after, sizes[1], j)):
        best = np.zeros(len(boxes))
        np.maximum.at(best, at, iou)
        found.append(best[2 * size > box_sizes(boxes)])
    return found[0], found[1]


def _common_step(before: np.ndarray, after: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The displacement that nearly all boxes have in common, where they overlap hardly at all without; else none."""
    nothing = np.zeros(2, np.int64)
    if min(len(before), len(after)) < LEAST_COMMON or _explained(before, after, nothing, shape) >= POOR:
        return nothing
    found = [(_explained(before, after, step, shape), step) for step in _candidates(before, after)]
    if not found:  # no box of one frame is of like size with one of the other
        return nothing
    value, best = max(found, key=lambda one: one[0])
    near = _usual_side(before) / 2
    others = [other for other, step in found if np.abs(step - best).max() > near]
    overlaps = _best_overlaps(before, after, best, shape)
    same = [np.count_nonzero(values > SAME) for values in overlaps]
    alone = max(others, default=0.0) < ALONE * value
    common = all(n >= max(LEAST_COMMON, COMMON * len(values)) for n, values in zip(same, overlaps, strict=True))
    return best if value > POOR and alone and common else nothing


def _candidates(before: np.ndarray, after: np.ndarray) -> list[np.ndarray]:
    """The displacements (y, x) that occur most often between boxes of like size, in whole pixels; [] if none are."""
    sides = [(boxes[:, 2:] - boxes[:, :2]).astype(np.float32) for boxes in (before, after)]
    alike = np.ones((len(before), len(after)), bool)
    for axis in range(2):
        first, second = sides[0][:, None, axis], sides[1][None, :, axis]
        alike &= np.abs(first - second) <= LIKE * np.maximum(first, second)
    i, j = np.nonzero(alike)
    doubled = (after[j, :2] + after[j, 2:]) - (before[i, :2] + before[i, 2:])
    width = max(2 * LEAST_STEP, float(np.median(np.concatenate(sides))) / 4)
    cells = np.floor(doubled / (2 * width)).astype(np.int64)
    found, count = np.unique(cells, axis=0, return_counts=True)
    steps = []
    for cell in found[np.argsort(-count, kind="stable")[:CANDIDATES]]:
        near = (np.abs(cells - cell) <= 1).all(axis=1)
        steps.append(np.rint(np.median(doubled[near], axis=0) / 2).astype(np.int64))
    return steps
