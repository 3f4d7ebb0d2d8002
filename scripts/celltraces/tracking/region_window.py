"""The frames of a movie in which regions may still be parted, and which regions of them follow each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from celltraces.labels.regions import PixelRuns, find_sorted, pixel_runs, region_table, select_runs
from celltraces.tracking.box_pairs import shared_window
from celltraces.tracking.region_pixels import moved_pixels, moved_runs, shared_pixels, with_parts_of
from celltraces.tracking.stage_places import PlaceOf

Parts = list[tuple[np.ndarray, int]]  # the pixels of a part, as positions in the flat frame, and its new label


@dataclass
class WindowFrame:
    """A frame in which regions may still be parted; entries are positions in the columns label and area."""

    whole: PixelRuns  # as segmentation found it, background too; values: labels
    runs: PixelRuns  # values: entries
    label: np.ndarray
    area: np.ndarray
    place: np.ndarray  # (y, x) of the first frame's contents in this frame, whole pixels
    scene: int  # the same in frames that have anything in common
    parts: Parts
    refused: set[tuple[int, ...]]  # an entry and those that it came apart into, which are not to be tried again
    tried: dict[tuple[int, ...], list[int]]  # the same, not again while the frames around have so many parts


class Links(NamedTuple):
    """Two frames, one after the other: the entry in the other one that holds most of each entry's pixels; -1: none."""

    after: np.ndarray  # of each entry of the first
    before: np.ndarray  # of each entry of the second


def with_parts(labels: np.ndarray, parts: Parts) -> np.ndarray:
    """A label image (H, W) with the parts of its regions that `part_regions` found."""
    highest = max((label for _, label in parts), default=0)
    if not parts:
        return labels
    out = labels.astype(labels.dtype if highest <= np.iinfo(labels.dtype).max else np.uint32)
    for pixels, label in parts:
        out.ravel()[pixels] = label
    return out


def frame_of(image: np.ndarray, place_of: PlaceOf) -> WindowFrame:
    runs = pixel_runs(image)
    label, area, bbox = region_table(runs, image.shape[1])
    entry, known = find_sorted(label, runs.value)
    of_regions = select_runs(runs._replace(value=entry), known)
    return WindowFrame(runs, of_regions, label.astype(np.int64), area, *place_of(bbox, image.shape), [], set(), {})


def image_of(frame: WindowFrame, shape: tuple[int, ...]) -> tuple[np.ndarray, Parts]:
    labels = np.repeat(frame.whole.value, frame.whole.length).reshape(shape)
    return with_parts(labels, frame.parts), frame.parts


def links_between(one: WindowFrame, two: WindowFrame, shape: tuple[int, ...]) -> Links:
    step = two.place - one.place
    runs = one.runs if not step.any() else moved_runs(one.runs, step, shared_window(step, shape), shape[1])
    links = Links(np.full(one.area.size, -1), np.full(two.area.size, -1))
    if one.scene != two.scene:
        return links
    i, j, shared = shared_pixels(runs, two.runs, two.area.size)
    most = 2 * shared > one.area[i]
    links.after[i[most]] = j[most]
    most = 2 * shared > two.area[j]
    links.before[j[most]] = i[most]
    return links


def source_of(before: WindowFrame, pixels: np.ndarray, place: np.ndarray, shape: tuple[int, ...], share: float) -> int:
    """The entry of the frame before that holds the most of these pixels of a frame at this place; -1 if that is not
    more than this share of them."""
    count = shares(before, pixels, place, shape)
    return int(np.argmax(count)) if count.max() > share * pixels.size else -1


def shares(frame: WindowFrame, pixels: np.ndarray, place: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """How many of these pixels of a frame at this place each entry of another frame holds; (N,), N may be fewer."""
    at = moved_pixels(pixels, frame.place - place, shape)
    runs = frame.runs
    run = np.searchsorted(runs.start, at, "right") - 1
    at, run = at[run >= 0], run[run >= 0]
    return np.bincount(runs.value[run[at < (runs.start + runs.length)[run]]], minlength=1)


def go_on(links: list[Links], steps: Sequence[int], entries: list[int], forward: bool) -> bool:
    """Whether each of these regions goes on as one other, and that as one more, through these steps."""
    if not 0 <= steps[-1] < len(links):
        return False
    for step in steps:
        there, back = (links[step].after, links[step].before)[:: 1 if forward else -1]
        if any(there[entry] < 0 or back[there[entry]] != entry for entry in entries):
            return False
        entries = [int(there[entry]) for entry in entries]
    return True


def take_apart(frame: WindowFrame, entry: int, parts: Sequence[np.ndarray], width: int) -> None:
    """Make the first part the region, and regions of the others, in place."""
    first, *others = parts
    labels = int(frame.label.max()) + np.arange(1, len(parts))
    entries = range(frame.area.size, frame.area.size + len(others))
    frame.runs = with_parts_of(frame.runs, entry, parts, [entry, *entries], width)
    frame.parts += zip(others, labels.tolist(), strict=True)
    frame.area = np.concatenate([frame.area, np.array([part.size for part in others])])
    frame.area[entry] = first.size
    frame.label = np.concatenate([frame.label, labels])
