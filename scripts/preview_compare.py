"""Compare what methods and sets of segmentation parameters make of the same frames, as a picture and tables.

The first set is the present one. Cells of the others are drawn by how they differ from it, or, where its method cannot
be had, from the first one that can. The numbers take none of them for the truth. Nothing is judged: the user looks.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from celltraces.errors import UserError
from celltraces.files import write_text
from celltraces.labels import left_out
from celltraces.pictures import draw
from celltraces.preview.advice import SEES, on_size_limit
from celltraces.preview.comparison import (
    Comparison,
    agreement,
    agreements,
    compare_labels,
    in_common,
    of_other_methods,
    rows_as_csv,
    summarise,
)
from celltraces.preview.picture import assemble, detail, draw_detail, draw_reason, draw_whole
from celltraces.preview.sets import KEYS, METHOD, Set
from celltraces.pyme import spool
from celltraces.readers.movie_file import open_movie, read_frame
from celltraces.runs import job
from celltraces.storage import cells, display_level


class Segmentations(NamedTuple):
    """What each set found in the same frames: open stores, and what these say of themselves."""

    stores: Sequence[cells.Get]  # of each set
    done: Sequence[int]  # which of the sets could be tried; the first of them is the one that others are compared with
    failed: Sequence[str | None]  # of each set: why it could not be tried
    told: Sequence[set[tuple[int, int]]]  # of each set: FOV and frame where it says what it left out
    boxes: Mapping[
        tuple[int, int], Sequence[Sequence[int]]
    ]  # half-open [y0, x0, y1, x1] without data, by FOV and frame

    def labels(self, fov: int, frame: int) -> list[np.ndarray]:
        """Of each set that could be tried: the labels (H, W) of a frame."""
        return [cells.get_array(self.stores[at], f"{fov}/{frame}")[0] for at in self.done]

    def rejected(self, fov: int, frame: int) -> list[np.ndarray | None]:
        """Of each set that could be tried: what it left out of a frame, (H, W) uint8; None where it does not say."""
        key = f"{fov}/{frame}_{left_out.ATTRIBUTE}"
        return [cells.get_array(self.stores[at], key)[0] if (fov, frame) in self.told[at] else None for at in self.done]


class ComparedFrame(NamedTuple):
    """What the N sets that could be tried make of one frame."""

    tiles: list[np.ndarray]  # the whole frame, and one for each of all sets: (h, w, 3) uint8
    comparisons: list[Comparison]  # of each set that could be tried, with the first of them
    common: np.ndarray  # (N, N) int64: cells that two sets have in common, 0 on the diagonal


def main(
    raw: str,
    stores: Sequence[str],
    picture: str,
    table_of_sets: str,
    table_of_frames: str,
    table_of_pairs: str,
    *,
    name: str,
    sets: Sequence[Set],
    frames: Sequence[tuple[int, int]],
    times_min: Sequence[float],
    channel: int,
    planes: Sequence[int | None],
    border_margin: int,
    pyme: Mapping[str, Any] = spool.DEFAULTS,
) -> None:
    """Write the picture, and tables with a row for each set, for each set and frame, and for each pair of sets."""
    sets = [{key: tried[key] for key in KEYS} for tried in sets]
    with ExitStack() as stack:
        read = stack.enter_context(open_movie(Path(raw), pyme))
        found = _segmentations([stack.enter_context(cells.open_store(Path(path))) for path in stores], sets)
        times = _times_of_frames_held(frames, times_min, found.boxes)
        places = {fov: detail(found.labels(*at) for at in found.boxes if at[0] == fov) for fov, _ in found.boxes}
        compared = {}
        for fov, frame in times:
            image = read_frame(read, fov, frame, channel, planes)
            compared[fov, frame] = _compare_frame(image, found, (fov, frame), places[fov], border_margin)
        advice = _advice(found, sets)
    if advice:
        job.log.warning("%s%s: %s", job.SAID, name, advice)
    by_frame = [
        {**sets[at], "present": not at, "fov": fov, "frame": frame, **summarise([comparison])}
        for (fov, frame), one in compared.items()
        for at, comparison in zip(found.done, one.comparisons, strict=True)
    ]
    totals, pairs = _summaries(sets, found.done, list(compared.values()))
    by_set = [
        {**tried, "present": not at, "tried": at in found.done, **total}
        for at, (tried, total) in enumerate(zip(sets, totals, strict=True))
    ]
    write_text(Path(table_of_sets), rows_as_csv(by_set))
    write_text(Path(table_of_frames), rows_as_csv(by_frame))
    write_text(Path(table_of_pairs), rows_as_csv(pairs))
    rows = [
        (f"FOV {fov}\nframe {frame}\n{draw.hours_and_minutes(times[fov, frame])}", one.tiles)
        for (fov, frame), one in compared.items()
    ]
    title = f"{name}: the same {'frames' if len(rows) > 1 else 'frame'}, segmented with one thing changed at a time"
    shown = [total if at in found.done else None for at, total in enumerate(totals)]
    assemble(rows, sets, shown, found.done[0], title, Path(picture))


def _segmentations(stores: Sequence[cells.Get], sets: Sequence[Set]) -> Segmentations:
    """What the stores of all sets hold; the log says of sets that could not be tried why not.

    Raises UserError where none could be tried.
    """
    said = [json.loads(get("zarr.json"))["attributes"] for get in stores]
    failed = [attributes["failed"] for attributes in said]
    done = _sets_done(sets, failed)
    segmented = [(fov, frame) for fov, frame in said[done[0]]["frames"]]
    return Segmentations(
        stores,
        done,
        failed,
        told=[set(map(tuple, attributes[left_out.ATTRIBUTE])) for attributes in said],
        boxes=dict(zip(segmented, said[done[0]]["uncovered"], strict=True)),
    )


def _sets_done(sets: Sequence[Set], failed: Sequence[str | None]) -> list[int]:
    """Which of the sets could be tried; the log says of the others why not. Raises UserError where none could."""
    for tried, reason in zip(sets, failed, strict=True):
        if reason is not None:
            job.log.warning("%s is left out: %s", tried[METHOD], reason)
    done = [at for at, reason in enumerate(failed) if reason is None]
    if not done:
        raise UserError(f"none of the methods could be tried: {failed[0]}")
    return done


def _advice(found: Segmentations, sets: Sequence[Set]) -> str | None:
    """What the size of the cells, as a network sees them, says of the present parameters."""
    of_network = [row for row, at in enumerate(found.done) if sets[at][METHOD] == SEES]
    if found.done[0] or not of_network:
        return None
    return on_size_limit(sets[0], (found.labels(*at)[of_network[0]] for at in found.boxes))


def _times_of_frames_held(
    frames: Sequence[tuple[int, int]], times_min: Sequence[float], held: Collection[tuple[int, int]]
) -> dict[tuple[int, int], float]:
    """Minutes by FOV and frame, of those frames that the file has; the log names the others.

    Raises UserError where it has none.
    """
    pairs = [(fov, frame) for fov, frame in frames]
    times = {at: time for at, time in zip(pairs, times_min, strict=True) if at in held}
    missing = [f"FOV {fov} frame {frame}" for fov, frame in pairs if (fov, frame) not in held]
    if missing:
        job.log.warning("not in the file: %s", ", ".join(missing))
    if not times:
        raise UserError("none of the frames is in the file; name others with preview.fovs and preview.frames")
    return times


def _compare_frame(
    image: np.ndarray, found: Segmentations, at: tuple[int, int], place: tuple[int, int, int], border_margin: int
) -> ComparedFrame:
    """Compare and draw what the sets found in a frame.

    image: (H, W) uint16. at: its FOV and frame. place: y, x and side of the square that is drawn large, px.
    """
    grey = display_level.to_bytes(image, *draw.grey_levels([image]))
    by_set, gone = found.labels(*at), found.rejected(*at)
    present = by_set[0]
    tiles = [draw_whole(grey, present, place, gone[0])]
    tiles += [draw_reason(reason) if reason else tiles[0] for reason in found.failed]
    comparisons = []
    for which, labels, left in zip(found.done, by_set, gone, strict=True):
        comparisons.append(compare_labels(present, labels, left, found.boxes[at], border_margin))
        tiles[which + 1] = draw_detail(grey, present, labels, comparisons[-1], place, left)
    common = np.zeros((len(by_set), len(by_set)), np.int64)
    for (one, first), (other, second) in combinations(enumerate(by_set), 2):
        common[[one, other], [other, one]] = in_common(first, second)
    return ComparedFrame(tiles, comparisons, common)


def _summaries(
    sets: Sequence[Set], done: Sequence[int], compared: Sequence[ComparedFrame]
) -> tuple[list[dict[str, float]], list[dict[str, Any]]]:
    """Over all frames: the numbers of each set (NaN of one that was not tried), and a row for each pair of sets."""
    totals = [summarise([]) | agreement(np.zeros(0)) for _ in sets]
    for at, found in zip(done, zip(*(one.comparisons for one in compared), strict=True), strict=True):
        totals[at] = summarise(found)
    common = np.sum([one.common for one in compared], axis=0)
    shares = agreements(common, [totals[at]["cells"] for at in done])
    with_others = of_other_methods(shares, [sets[at][METHOD] for at in done])
    for row, at in enumerate(done):
        totals[at] |= agreement(with_others[row])
    for tried, total in zip(sets, totals, strict=True):
        job.log.info("%s: %s", tried, total)
    pairs = [
        _pair(sets[one], sets[other], totals[one], totals[other], int(common[row, column]), float(shares[row, column]))
        for (row, one), (column, other) in combinations(enumerate(done), 2)
    ]
    return totals, pairs


def _pair(
    one: Set, other: Set, total: Mapping[str, float], of_other: Mapping[str, float], common: int, agreeing: float
) -> dict[str, Any]:
    """The row of a pair of sets: what each is, its cells, the cells that they have in common, and their share."""
    return {
        **{f"first_{key}": value for key, value in one.items()},
        **{f"second_{key}": value for key, value in other.items()},
        "first_cells": total["cells"],
        "second_cells": of_other["cells"],
        "common_cells": common,
        "agreement_percent": agreeing,
    }


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(
            stores=snakemake.input.labels,
            picture=snakemake.output.picture,
            table_of_sets=snakemake.output.sets,
            table_of_frames=snakemake.output.frames,
            table_of_pairs=snakemake.output.pairs,
            **settings,
        )
