"""Track by overlap: a region continues the track whose last region it overlaps most (intersection over union).

Both the tables of regions and the comparison of masks work on horizontal runs of equal pixels, of which a frame has a
hundred times fewer than pixels, so that nothing loops over pixels or over pairs of cells in Python.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from celltraces.errors import UserError
from celltraces.labels.regions import (
    FrameTracks,
    PixelRuns,
    find_sorted,
    pixel_runs,
    region_table,
    select_runs,
)
from celltraces.tracking import phantoms
from celltraces.tracking.box_pairs import box_sizes, in_window, shared_boxes, shared_window
from celltraces.tracking.nearest import nearest_pairs
from celltraces.tracking.region_pixels import divide, moved_runs, pixels_of_entry, shared_pixels, with_parts_of
from celltraces.tracking.stage_places import PlaceOf, place_finder

SETTLED = 3  # frames


class _Frame(NamedTuple):
    """What is kept of a recent frame, one entry per region (or part of one)."""

    area: np.ndarray
    bbox: np.ndarray
    runs: PixelRuns | None  # values: index of the region; where masks are compared or regions taken apart
    ids: np.ndarray
    age: np.ndarray  # number of frames in which the track has been seen
    unclaimed: np.ndarray  # bool: the track has not been seen since
    place: np.ndarray  # (y, x) of the first frame's contents in this frame, whole pixels
    scene: int  # the same in frames that have anything in common


def track(
    frames: Iterable[np.ndarray],
    *,
    min_iou: float = 0.1,
    min_size: int | None = None,
    max_size: int | None = None,
    max_gap: int = 3,
    iou: str = "box",
    max_distance: float = 0.0,
    split_touching: bool = False,
    movement: Mapping[str, Sequence[Any]] | None = None,
) -> list[FrameTracks]:
    """Track the regions of a movie; one pass, with the tables of `max_gap` + 1 frames in memory.

    `frames`: (H, W) label images in the order of time. Returns one `Mapping` per frame, for `relabel`. IDs count from 1
    in the order of first appearance, within a frame in the order of labels. Regions of fewer than `min_size` or more
    than `max_size` pixels are left out.

    Two regions may be matched when their IoU (of bounding boxes, or of pixels with `iou="mask"`) is above 0 and at
    least `min_iou`. Among these pairs the assignment has the largest possible total gain (Hungarian algorithm), where
    a pair gains its IoU; all others gain 0, as much as no match, so that they never displace a permitted one.
    Regions without a match start a new track.

    A track that was not found in up to `max_gap` frames takes part with the region where it was last seen, its gain
    times 0.8 for each frame in which it was missed: of two equal claims that of the track seen later wins. To match the
    tracks of the previous frame first and give the lost ones what is left is worse: a cell then takes the region of
    its neighbour that comes back as soon as their boxes overlap (simulated crowded cells, 20 % missed: 115 of 200
    tracks whole instead of 171).

    With `max_distance` above 0, tracks of the previous frame and regions that are left after that are matched by the
    distance of their centres, in widths of a cell, where nothing else is near and areas are alike (see `nearest`).

    With `split_touching`, tracks that run together into one region are kept apart (see `_merged` and `divide`), except
    for those that turn out to have ended (see `phantoms`). Without, one of them ends and the other takes the whole
    region.

    movement: of the stage, as measured in the pictures; None where it was not. Earlier regions are moved along with
    the stage, and compared in what both frames show, if they show the same place (see `stage_places`).
    """
    if iou not in ("box", "mask"):
        raise UserError(f"iou: {iou!r} is not one of 'box', 'mask'")
    recent: deque[_Frame] = deque(maxlen=max_gap + 1)
    mappings: list[FrameTracks] = []
    divisions: list[phantoms.SplitRegion] = []
    n_tracks = width = 0
    place_of = place_finder(movement)
    for image in frames:
        width = image.shape[1]
        label, frame = _regions(image, min_size, max_size, iou == "mask" or split_touching, place_of)
        _claim(recent, frame, *assign(*_permitted(recent, frame, min_iou, iou == "mask", image.shape)))
        parts: list[tuple[np.ndarray, int]] = []
        follows = bool(recent) and recent[0].scene == frame.scene
        if split_touching and follows:
            label, frame, parts, divided = _kept_apart(label, frame, recent[0], len(mappings), image.shape)
            divisions += divided
        if max_distance > 0 and follows:
            _match_nearest(recent[0], frame, max_distance, image.shape)
        new = np.flatnonzero(frame.ids == 0)
        frame.ids[new] = np.arange(n_tracks + 1, n_tracks + 1 + new.size)
        n_tracks += new.size
        recent.appendleft(frame)
        whole = label > 0
        mappings.append(FrameTracks(label[whole], frame.ids[whole], parts, tuple(frame.place.tolist())))
    return _without_phantoms(mappings, divisions, width)


def _regions(
    image: np.ndarray, min_size: int | None, max_size: int | None, keep_runs: bool, place_of: PlaceOf
) -> tuple[np.ndarray, _Frame]:
    """Labels of the regions of a frame (H, W) that are of a permitted size, and their entries, not yet numbered."""
    runs = pixel_runs(image)
    label, area, bbox = region_table(runs, image.shape[1])
    keep = np.ones(label.size, bool)
    if min_size is not None:
        keep &= area >= min_size
    if max_size is not None:
        keep &= area <= max_size
    label, area, bbox = label[keep], area[keep], bbox[keep]
    place, scene = place_of(bbox, image.shape)
    return label, _Frame(
        area=area,
        bbox=bbox,
        runs=_index(runs, label) if keep_runs else None,
        ids=np.zeros(label.size, np.int64),
        age=np.ones(label.size, np.int64),
        unclaimed=np.ones(label.size, bool),
        place=place,
        scene=scene,
    )


def _claim(recent: Iterable[_Frame], frame: _Frame, i: np.ndarray, j: np.ndarray) -> None:
    """Give the tracks of entries i, counted through all recent frames, to the entries j of `frame`; in place."""
    offset = 0
    for past in recent:
        here = (i >= offset) & (i < offset + past.ids.size)
        mine = i[here] - offset
        frame.ids[j[here]], frame.age[j[here]] = past.ids[mine], past.age[mine] + 1
        past.unclaimed[mine] = False
        offset += past.ids.size


def _kept_apart(
    label: np.ndarray, frame: _Frame, previous: _Frame, number: int, shape: tuple[int, ...]
) -> tuple[np.ndarray, _Frame, list[tuple[np.ndarray, int]], list[phantoms.SplitRegion]]:
    """Labels and entries of frame `number` with regions divided in which tracks have run together (see `_merged`).

    Also returns the pixels of each track in them with the track, and each region with its tracks. The tracks are then
    claimed in `previous`, in place.
    """
    parts: list[tuple[np.ndarray, int]] = []
    divided: list[phantoms.SplitRegion] = []
    past, _ = _in_common(previous, frame, shape)
    past = past._replace(area=previous.area)  # a cell that is mostly out of the picture is not covered
    for region, members in _merged(past, frame):
        before = [pixels_of_entry(past.runs, member) for member in members]
        own = divide(pixels_of_entry(frame.runs, region), before, shape)
        tracks = previous.ids[members].tolist()
        parts += zip(own, tracks, strict=True)
        divided.append(phantoms.SplitRegion(number, int(label[region]), tracks, [part.size for part in own]))
        previous.unclaimed[members] = False
        label, frame = _take_apart(label, frame, region, own, previous, members, shape[1])
    return label, frame, parts, divided


def _match_nearest(past: _Frame, frame: _Frame, max_distance: float, shape: tuple[int, ...]) -> None:
    """Give the tracks of the previous frame that are left to regions that are; in place."""
    left, new = np.flatnonzero(past.unclaimed), np.flatnonzero(frame.ids == 0)
    tables = [(of.bbox[rows], of.area[rows]) for of, rows in ((past, left), (frame, new))]
    i, j = nearest_pairs(*tables, frame.place - past.place, max_distance, shape)
    i, j = left[i], new[j]
    frame.ids[j], frame.age[j], past.unclaimed[i] = past.ids[i], past.age[i] + 1, False


def _without_phantoms(
    mappings: list[FrameTracks], divisions: Sequence[phantoms.SplitRegion], width: int
) -> list[FrameTracks]:
    """The mappings without tracks that had ended (`phantoms`); those of other frames are the same objects."""
    divided = {track for division in divisions for track in division.tracks}
    last_whole = {
        track: frame for frame, mapping in enumerate(mappings) for track in divided.intersection(mapping.ids.tolist())
    }
    gone = phantoms.find_phantoms(divisions, last_whole)
    for division in divisions:
        if not any(division.frame >= gone.get(track, len(mappings)) for track in division.tracks):
            continue
        labels, ids, parts, _ = mappings[division.frame]
        pixels = {track: part for part, track in parts}
        kept = phantoms.give_back(division, [pixels[track] for track in division.tracks], gone, width)
        others = [part for part in parts if part[1] not in division.tracks]
        if len(kept) > 1:
            mappings[division.frame] = mappings[division.frame]._replace(parts=others + kept)
        else:  # one cell again, as the region was found
            at = np.searchsorted(labels, division.label)
            whole = {"labels": np.insert(labels, at, division.label), "ids": np.insert(ids, at, kept[0][1])}
            mappings[division.frame] = mappings[division.frame]._replace(**whole, parts=others)
    return mappings


def _merged(past: _Frame, frame: _Frame) -> list[tuple[int, np.ndarray]]:
    """Regions of `frame` in which tracks have run together, and the entries of these tracks in `past`.

    Two cells that touch are one region: without this one of them would end, and the other take the light of both,
    unnoticed. A region counts as several cells when it covers most of where each of them was in the frame before, one
    of them is found nowhere else, and each is settled: seen in SETTLED frames or more. A cell that falls to pieces
    for a moment thus grows together again.
    """
    settled = past.age >= SETTLED
    lost = settled & past.unclaimed
    if not lost.any():
        return []
    i, j, shared = shared_pixels(past.runs, frame.runs, frame.area.size)
    most = 2 * shared > past.area[i]
    i, j = i[most], j[most]
    candidate = settled[i] & (past.unclaimed[i] | (past.ids[i] == frame.ids[j]))
    merged = []
    for region in np.unique(j[lost[i]]).tolist():
        members = i[candidate & (j == region)]
        if members.size > 1:
            merged.append((region, members))
    return merged


def _take_apart(
    label: np.ndarray,
    frame: _Frame,
    region: int,
    parts: Sequence[np.ndarray],
    past: _Frame,
    members: np.ndarray,
    width: int,
) -> tuple[np.ndarray, _Frame]:
    """The frame with entry `region` emptied and one entry more for each part; their label is 0."""
    boxes = []
    for part in parts:
        y, x = np.divmod(part, width)
        boxes.append([y[0], x.min(), y[-1] + 1, x.max() + 1])
    n = len(parts)
    divided = _Frame(
        area=np.concatenate([frame.area, [part.size for part in parts]]),
        bbox=np.concatenate([frame.bbox, np.array(boxes, np.int32)]),
        runs=with_parts_of(frame.runs, region, parts, range(label.size, label.size + n), width),
        ids=np.concatenate([frame.ids, past.ids[members]]),
        age=np.concatenate([frame.age, past.age[members] + 1]),
        unclaimed=np.ones(label.size + n, bool),
        place=frame.place,
        scene=frame.scene,
    )
    # The emptied entry overlaps nothing, continues nothing and is given no number.
    divided.area[region], divided.bbox[region], divided.ids[region], divided.age[region] = 0, 0, -1, 0
    divided.unclaimed[region] = False
    label = np.concatenate([label, np.zeros(n, label.dtype)])
    label[region] = 0
    return label, divided


def _permitted(
    recent: Iterable[_Frame], frame: _Frame, min_iou: float, by_mask: bool, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Permitted pairs: index of an unclaimed region (counted through all recent frames), index in `frame`, gain."""
    pairs = [(np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0))]
    offset = 0
    for missed, past in enumerate(recent):
        if past.scene == frame.scene:
            i, j, overlap = _overlaps(*_in_common(past, frame, shape), by_mask)
            ok = overlap >= min_iou
            pairs.append((i[ok] + offset, j[ok], overlap[ok] * 0.8**missed))
        offset += past.ids.size
    i, j, gain = (np.concatenate(part) for part in zip(*pairs, strict=True))
    return i, j, gain


def _in_common(past: _Frame, frame: _Frame, shape: tuple[int, ...]) -> tuple[_Frame, _Frame]:
    """Two frames with `past` moved along with the stage, and both cut to what they share; the same ones if it stood."""
    step = frame.place - past.place
    if not step.any():
        return past, frame
    window = shared_window(step, shape)
    return _cut(past, step, window, shape[1]), _cut(frame, np.zeros(2, np.int64), window, shape[1])


def _cut(frame: _Frame, step: np.ndarray, window: np.ndarray, width: int) -> _Frame:
    """The frame moved by `step`; of areas, boxes and runs what lies in `window` [y0, x0, y1, x1]."""
    moved = frame._replace(bbox=in_window(frame.bbox, step, window))
    if frame.runs is None:
        return moved
    runs = moved_runs(frame.runs, step, window, width)
    area = np.bincount(runs.value, runs.length, minlength=frame.area.size).astype(np.int64)
    return moved._replace(area=area, runs=runs)


def _overlaps(past: _Frame, frame: _Frame, by_mask: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of an unclaimed region of `past` and one of `frame` that overlap: their indices and IoU."""
    if by_mask:
        runs = select_runs(past.runs, past.unclaimed[past.runs.value])
        i, j, shared = shared_pixels(runs, frame.runs, frame.area.size)
        size_i, size_j = past.area, frame.area
    else:
        unclaimed = np.flatnonzero(past.unclaimed)
        i, j, shared = shared_boxes(past.bbox[unclaimed], frame.bbox)
        i = unclaimed[i]
        size_i, size_j = box_sizes(past.bbox), box_sizes(frame.bbox)
    return i, j, shared / (size_i[i] + size_j[j] - shared)


def assign(i: np.ndarray, j: np.ndarray, gain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pairs (i, j) of the one-to-one assignment with the largest total gain; all gains are above 0.

    Solved for each connected component of the graph of pairs, which is exact and keeps the matrices small. Nearly all
    are of one pair, and need no solving.
    """
    alone = (np.bincount(i)[i] == 1) & (np.bincount(j)[j] == 1) if i.size else np.ones(0, bool)
    matched = [np.flatnonzero(alone)]
    rest = np.flatnonzero(~alone)
    component = _components(i[rest], j[rest])
    order = np.argsort(component, kind="stable")
    for part in np.split(rest[order], np.flatnonzero(np.diff(component[order])) + 1) if rest.size else ():
        matched.append(part[_hungarian(i[part], j[part], gain[part])])
    chosen = np.concatenate(matched)
    return i[chosen], j[chosen]


def _components(i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """For each pair a number that is the same for all pairs of a connected component: its lowest i."""
    component = i
    while True:
        wider = _lowest(j, _lowest(i, component))
        if np.array_equal(wider, component):
            return component
        component = wider


def _lowest(group: np.ndarray, value: np.ndarray) -> np.ndarray:
    """For each value the lowest one of its group."""
    lowest = np.full(group.max(initial=0) + 1, np.iinfo(value.dtype).max, value.dtype)
    np.minimum.at(lowest, group, value)
    return lowest[group]


def _hungarian(i: np.ndarray, j: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Positions of the pairs with the largest total gain, none of them sharing i or j."""
    from scipy.optimize import linear_sum_assignment  # half a second, which movies without contested regions save

    rows, a = np.unique(i, return_inverse=True)
    columns, b = np.unique(j, return_inverse=True)
    matrix, position = np.zeros((rows.size, columns.size)), np.full((rows.size, columns.size), -1)
    matrix[a, b], position[a, b] = gain, np.arange(i.size)
    found = position[linear_sum_assignment(matrix, maximize=True)]
    return found[found >= 0]


def _index(runs: PixelRuns, labels: np.ndarray) -> PixelRuns:
    """The runs of the given labels (sorted), with the label's index as value."""
    index, known = find_sorted(labels, runs.value)
    return select_runs(runs._replace(value=index), known)
