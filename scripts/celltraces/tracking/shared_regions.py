"""Part regions in which several cells lie for some frames, by the frames before and after, in which they lie apart.

Segmentation knows one frame. Where cells touch it often finds one region for a few frames, then two again. Linking can
keep them apart while it goes (`split_touching`), but only cells that it has seen for a while, since it does not know
what comes; daughters that run together with a neighbour soon after they begin are lost. Here both sides of the time are
known: a region that comes apart is followed back to where it had come together. What was one region from the beginning
on is left alone, since it may as well be a cell that divides. So is a daughter who does not come apart from the
neighbour in whose region she begins, unless her mother and her sister tell where she is (`hidden_daughters`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from celltraces.tracking.halves import LARGEST
from celltraces.tracking.hidden_daughters import part_hidden, part_if_hidden
from celltraces.tracking.region_pixels import divide, moved_pixels, pixels_of_entry
from celltraces.tracking.region_window import (
    Links,
    Parts,
    WindowFrame,
    frame_of,
    go_on,
    image_of,
    links_between,
    source_of,
    take_apart,
)
from celltraces.tracking.stage_places import place_finder

APART = 3  # frames in which the cells lie apart, without a break, on one of the two sides
MOMENT = 2  # the same before, at least, unless a cell begins in the region
MOST, SOME = 0.5, 0.2  # of a part's pixels: more of them lie in the cell that it was; in the one that it came from
LIKE = 1.6  # times as large: what a cell may become while it shares a region
SUM = 1.5  # times as large: what a region may be against the cells that it holds
STEADY = 1.3  # times as large: what a region may become from one frame to the next while it holds the same cells
TINY = 0.2  # of the largest cell in the region: what is smaller is debris
NEW = 0.5  # of a cell that begins in the region: by how much of its area, at least, the region is larger than before


class _Together(NamedTuple):
    """Which parts of a region are which of the regions of the frame before, which came together in it.

    groups: entries of the frame before, and of each the parts, which are several where the cell divides later; -1 for a
    cell that begins here. before: the pixels of each group in the frame before; None where a cell begins that is not
    known to be a daughter. by_division: all that begin are daughters of cells that lose half of their area here, by
    which the region becomes larger.
    """

    groups: list[tuple[int, list[int]]]
    before: list[np.ndarray] | None
    by_division: bool


def part_regions(
    frames: Iterable[np.ndarray], max_touching: int, movement: Mapping[str, Sequence[Any]] | None = None
) -> Iterator[tuple[np.ndarray, Parts]]:
    """The frames with regions parted that hold several cells for up to max_touching frames, and the parts.

    frames: (H, W) label images in the order of time. One part keeps the label of the region, others get labels above
    all others of the frame, in the image's dtype, or in uint32 where it has no room. `with_parts` does the same to a
    frame that is read again. Of max_touching + 2 * APART frames, runs of equal pixels are kept in memory. movement: of
    the stage, as measured in the pictures (see `stage_places`).

    A region comes apart where it covers most of two regions or more of the next frame that together are about as large.
    It is parted from there back to where it came together, if that was up to max_touching frames earlier: there its
    parts lie in the place of several regions of the frame before, each of the area of its parts. One of them may begin
    there, where another cell was that divides, or if the region becomes larger by it. After that the parts are apart in
    APART frames or more. If none of them begins, they are apart for a MOMENT at least before it, and either there or
    after it in APART frames or more.
    """
    if max_touching == 0:
        for image in frames:
            yield image, []
        return
    window: list[WindowFrame] = []
    links: list[Links] = []
    place_of = place_finder(movement)
    shape = (0, 0)
    for image in frames:
        shape = image.shape
        window.append(frame_of(image, place_of))
        if len(window) > 1:
            links.append(links_between(*window[-2:], shape))
        _part(window, links, len(links) - APART, max_touching, shape, newest=True)
        part_hidden(window, links, len(links) - APART, shape)
        if len(window) > max_touching + 2 * APART:
            links.pop(0)
            yield image_of(window.pop(0), shape)
    _part(window, links, len(links) - 1, max_touching, shape, newest=False)
    for frame in window:
        yield image_of(frame, shape)


def _part(
    window: list[WindowFrame], links: list[Links], last: int, max_touching: int, shape: tuple[int, ...], newest: bool
) -> None:
    """Part regions of the window that come apart after frame `last` (if newest) or earlier; in place.

    Whatever is parted may be what an earlier one lacked: cells that lie apart before or after.
    """
    steps = range(last, max(-1, last - 1) if newest else -1, -1)
    parted = True
    while parted:
        parted = False
        for step in steps:
            for entry in _coming_apart(links[step]):
                parted |= _part_back(window, links, step, entry, max_touching, shape)
            if parted:
                break
        steps = range(last, -1, -1)


def _coming_apart(links: Links) -> list[int]:
    """The entries of the first frame that cover most of two or more of the second."""
    held = links.before[links.before >= 0]
    return np.flatnonzero(np.bincount(held, minlength=1) > 1).tolist()


def _part_back(
    window: list[WindowFrame], links: list[Links], step: int, entry: int, max_touching: int, shape: tuple[int, ...]
) -> bool:
    """Part a region that comes apart after frame `step` of the window, back to where it came together; in place.

    Returns whether it was parted.
    """
    after = np.flatnonzero(links[step].before == entry)
    key = (entry, *after.tolist())
    around = window[max(0, step - max_touching - APART - 2) : step + APART + 2]
    state = [len(frame.parts) for frame in around]
    if key in window[step].refused or window[step].tried.get(key) == state:
        return False
    window[step].tried[key] = state
    areas = window[step + 1].area[after]
    if areas.min() < TINY * areas.max() or not _alike(areas.sum(), window[step].area[entry], SUM):
        window[step].refused.add(key)
        return False
    parts = [pixels_of_entry(window[step + 1].runs, part) for part in after.tolist()]
    chain: list[tuple[int, list[np.ndarray]]] = []  # entry and parts, backwards in time from frame `step` on
    for at in range(step, max(0, step - max_touching), -1):
        parts = divide(pixels_of_entry(window[at].runs, entry), parts, shape)
        chain.append((entry, parts))
        if window[at - 1].scene != window[at].scene:
            break
        sources = [source_of(window[at - 1], pixels, window[at].place, shape, MOST) for pixels in parts]
        others = _others(window, links, at, entry, sources)
        if others or _goes_back(window, links[at - 1], at, entry, sources):
            entry = sources[0]
            parts = parts + [pixels_of_entry(window[at].runs, other) for other in others]
            continue
        came = _came_together(window, links, at, entry, parts, sources, shape)
        if came is None and -1 in sources:
            sources = [source_of(window[at - 1], pixels, window[at].place, shape, SOME) for pixels in parts]
            came = _came_together(window, links, at, entry, parts, sources, shape)
        if came is None:
            if part_if_hidden(window, links, at, step, sources, after.tolist(), shape):
                return True
            break
        earlier = [source for source, _ in came.groups if source >= 0]
        begin = len(earlier) < len(came.groups)
        if not (begin and came.by_division) and not _lie_apart(links, step, after.tolist(), at, earlier, begin):
            return False
        later = sum(len(own) < len(parts) for _, own in chain)  # frames since another region came apart from this one
        chain = [(region, _grouped(own, came.groups)) for region, own in chain]
        window[step].refused.add(key)
        if came.before is not None:
            chain = chain[:later] + _from_both_sides(window, at, came.before, chain[later:], shape)
        for frame, (region, pixels) in zip(range(step, at - 1, -1), chain, strict=True):
            take_apart(window[frame], region, pixels, shape[1])
        for changed in range(max(at - 1, 0), step + 1):
            links[changed] = links_between(window[changed], window[changed + 1], shape)
        return True
    window[step].refused.add(key)
    return False


def _others(window: list[WindowFrame], links: list[Links], at: int, entry: int, sources: list[int]) -> list[int]:
    """The regions of frame `at` that came apart from one region of the frame before, as this one did, and go on.

    So the clump of three cells comes apart in two steps, and is followed back from the second one.
    """
    whole, areas = sources[0], window[at].area
    pieces = np.flatnonzero(links[at - 1].before == whole)
    if len(set(sources)) > 1 or whole < 0 or entry not in pieces or pieces.size == 1:
        return []
    if areas[pieces].min() < TINY * areas[pieces].max():
        return []
    if not _alike(areas[pieces].sum(), window[at - 1].area[whole], SUM):
        return []
    others = pieces[pieces != entry].tolist()
    return others if go_on(links, range(at, at + APART - 1), others, True) else []


def _grouped(parts: list[np.ndarray], groups: list[tuple[int, list[int]]]) -> list[np.ndarray]:
    """The pixels of each group of parts, without groups of which the region has no part; groups: see `_Together`."""
    found = [[parts[at] for at in group if at < len(parts)] for _, group in groups]
    return [np.sort(np.concatenate(own)) for own in found if own]


def _goes_back(window: list[WindowFrame], here: Links, at: int, entry: int, sources: list[int]) -> bool:
    """Whether a region of frame `at` is one region of the frame before, with the same cells, and nothing else."""
    alone = sources[0]
    if len(set(sources)) > 1 or alone < 0 or here.after[alone] != entry:
        return False
    others = np.count_nonzero(here.before == alone) > 1 or np.count_nonzero(here.after == entry) > 1
    return not others and 1 / SUM <= window[at].area[entry] / window[at - 1].area[alone] <= STEADY


def _alike(one: float, other: float, factor: float) -> bool:
    return bool(max(one, other) <= factor * min(one, other))


def _came_together(
    window: list[WindowFrame],
    links: list[Links],
    at: int,
    entry: int,
    parts: list[np.ndarray],
    sources: list[int],
    shape: tuple[int, ...],
) -> _Together | None:
    """How the parts of a region of frame `at` came together in it.

    None where it is not clear: a region of the frame before is not of the size of its parts, or a part comes neither
    from one, nor from a cell that divides here, nor makes the region larger.
    """
    before, here, areas = window[at - 1], links[at - 1], window[at].area
    came = set(np.flatnonzero(here.after == entry).tolist())
    groups: list[tuple[int, list[int]]] = []
    pixels: list[np.ndarray | None] = []
    for source in sorted({*sources} - {-1}):
        group = [part for part, of in enumerate(sources) if of == source]
        goes_on = int(here.after[source])
        elsewhere = [other for other in np.flatnonzero(here.before == source).tolist() if other != entry]
        if goes_on == entry and not elsewhere:
            groups.append((source, group))
            pixels.append(pixels_of_entry(before.runs, source))
        elif elsewhere or (goes_on != entry and (goes_on < 0 or areas[goes_on] <= LARGEST * before.area[source])):
            groups += [(-1, [part]) for part in group]
            one = len(group) == len(elsewhere) == 1 and areas[elsewhere[0]] <= LARGEST * before.area[source]
            pixels += [_left_of(window, at, source, elsewhere[0], shape)] if one else [None] * len(group)
        else:
            return None
        came -= {source}
    n_old, new = len(groups), [part for part, of in enumerate(sources) if of < 0]
    groups += [(-1, [part]) for part in new]
    if came or len(groups) < 2 or all(source < 0 for source, _ in groups):
        return None
    known = [own for own in pixels if own is not None and own.size]
    begin = np.array([source < 0 for source, _ in groups])
    all_known, born = len(known) == len(groups), len(known) == len(groups) and begin.any()
    own = divide(pixels_of_entry(window[at].runs, entry), known, shape) if born else _grouped(parts, groups)
    sizes = np.array([part.size for part in own])
    earlier = np.array([before.area[source] for source, _ in groups if source >= 0])
    if not all(map(_alike, sizes[~begin], earlier, [LIKE] * earlier.size)):
        return None
    old = earlier.sum() + sizes[:n_old][begin[:n_old]].sum()
    if new and sizes.sum() < old + NEW * sizes[n_old:].sum():
        return None
    larger = sizes.sum() >= earlier.sum() + NEW * sizes[begin].sum()
    return _Together(groups, known if all_known else None, bool(born and larger))


def _left_of(window: list[WindowFrame], at: int, source: int, elsewhere: int, shape: tuple[int, ...]) -> np.ndarray:
    """The pixels of an entry of the frame before that no longer are its own, as a region of frame `at` is."""
    mine = pixels_of_entry(window[at - 1].runs, source)
    there = moved_pixels(pixels_of_entry(window[at].runs, elsewhere), window[at - 1].place - window[at].place, shape)
    return np.setdiff1d(mine, there)


def _lie_apart(links: list[Links], step: int, after: list[int], at: int, earlier: list[int], begin: bool) -> bool:
    """Whether the cells lie apart for long enough after frame `step`, or before frame `at` unless some begin there.

    Before it, for a MOMENT at least: halves of a cell that is cut in two for one frame are no cells.
    """
    later, former = range(step + 1, step + APART), range(at - 2, at - 1 - APART, -1)
    if begin:
        return go_on(links, later, after, True)
    moment = go_on(links, former[: MOMENT - 1], earlier, False)
    return moment and (go_on(links, later, after, True) or go_on(links, former, earlier, False))


def _from_both_sides(
    window: list[WindowFrame],
    at: int,
    parts: list[np.ndarray],
    chain: list[tuple[int, list[np.ndarray]]],
    shape: tuple[int, ...],
) -> list[tuple[int, list[np.ndarray]]]:
    """The chain with the earlier half of the frames parted by what the parts were in the frame before `at`."""
    chain = list(chain)
    for back in range(len(chain) - 1, len(chain) - 1 - len(chain) // 2, -1):
        entry = chain[back][0]
        parts = divide(pixels_of_entry(window[at + len(chain) - 1 - back].runs, entry), parts, shape)
        chain[back] = entry, parts
    return chain
