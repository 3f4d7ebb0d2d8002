"""Compare what methods and sets of segmentation parameters make of the same frames, as a picture and tables.

The first set is the present one. Cells of the others are drawn by how they differ from it, or, where its method cannot
be had, from the first one that can. The numbers take none of them for the truth. Nothing is judged: the user looks.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from celltraces.errors import UserError
from celltraces.files import write_text
from celltraces.labels import left_out
from celltraces.pictures import draw
from celltraces.preview.comparison import (
    Comparison,
    agreement,
    agreements,
    compare,
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
    n_sets = len(sets)
    rows: list[tuple[str, list[np.ndarray]]] = []
    comparisons: list[list[Comparison]] = [[] for _ in sets]
    by_frame: list[dict[str, Any]] = []
    common = np.zeros((n_sets, n_sets), np.int64)
    with ExitStack() as stack:
        read = stack.enter_context(open_movie(Path(raw), pyme))
        gets = [stack.enter_context(cells.open_store(Path(path))) for path in stores]
        said = [json.loads(get("zarr.json"))["attributes"] for get in gets]
        failed = [attributes["failed"] for attributes in said]
        done = _sets_done(sets, failed)
        framed = done[0]
        held = _frames_held(frames, said[framed]["frames"])
        boxes = dict(zip(held, said[framed]["uncovered"], strict=True))
        told = [set(map(tuple, attributes[left_out.ATTRIBUTE])) for attributes in said]

        def labels(fov: int, frame: int) -> list[np.ndarray]:
            return [cells.get_array(gets[at], f"{fov}/{frame}")[0] for at in done]

        def rejected(fov: int, frame: int) -> list[np.ndarray | None]:
            name = f"{fov}/{frame}_{left_out.ATTRIBUTE}"
            return [cells.get_array(gets[at], name)[0] if (fov, frame) in told[at] else None for at in done]

        places = {fov: detail(labels(*at) for at in held if at[0] == fov) for fov, _ in held}
        for (fov, frame), time in zip(frames, times_min, strict=True):
            if (fov, frame) not in held:
                continue
            image = read_frame(read, fov, frame, channel, planes)
            grey = display_level.to_bytes(image, *draw.grey_levels([image]))
            found_by, gone = labels(fov, frame), rejected(fov, frame)
            tiles = [draw_whole(grey, found_by[0], places[fov], gone[0])]
            tiles += [draw_reason(reason) if reason else tiles[0] for reason in failed]
            for at, by_set, left in zip(done, found_by, gone, strict=True):
                found = compare(found_by[0], by_set, left, boxes[fov, frame], border_margin)
                comparisons[at].append(found)
                tiles[at + 1] = draw_detail(grey, found_by[0], by_set, found, places[fov], left)
                by_frame.append({**sets[at], "present": not at, "fov": fov, "frame": frame, **summarise([found])})
            for (one, first), (other, second) in combinations(zip(done, found_by, strict=True), 2):
                common[[one, other], [other, one]] += in_common(first, second)
            rows.append((f"FOV {fov}\nframe {frame}\n{draw.hours_and_minutes(time)}", tiles))
    totals = [summarise(found) for found in comparisons]
    shares = agreements(common, [total["cells"] for total in totals])
    shares[[at for at in range(n_sets) if at not in done]] = np.nan
    shares[:, [at for at in range(n_sets) if at not in done]] = np.nan
    with_others = of_other_methods(shares, [tried[METHOD] for tried in sets])
    for at, total in enumerate(totals):
        total |= agreement(with_others[at])
        job.log.info("%s: %s", sets[at], total)
    by_set = [{**sets[at], "present": not at, "tried": at in done, **total} for at, total in enumerate(totals)]
    pairs = [
        _pair(sets[one], sets[other], totals[one], totals[other], int(common[one, other]), float(shares[one, other]))
        for one, other in combinations(done, 2)
    ]
    write_text(Path(table_of_sets), rows_as_csv(by_set))
    write_text(Path(table_of_frames), rows_as_csv(by_frame))
    write_text(Path(table_of_pairs), rows_as_csv(pairs))
    title = f"{name}: the same {'frames' if len(rows) > 1 else 'frame'}, segmented with one thing changed at a time"
    shown = [total if at in done else None for at, total in enumerate(totals)]
    assemble(rows, sets, shown, framed, title, Path(picture))


def _sets_done(sets: Sequence[Set], failed: Sequence[str | None]) -> list[int]:
    """Which of the sets could be tried; the log says of the others why not. Raises UserError where none could."""
    for tried, reason in zip(sets, failed, strict=True):
        if reason is not None:
            job.log.warning("%s is left out: %s", tried[METHOD], reason)
    done = [at for at, reason in enumerate(failed) if reason is None]
    if not done:
        raise UserError(f"none of the methods could be tried: {failed[0]}")
    return done


def _frames_held(wanted: Sequence[tuple[int, int]], segmented: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """FOV and frame of those that the file has; the log names the others. Raises UserError where it has none."""
    held = [(fov, frame) for fov, frame in segmented]
    missing = [f"FOV {fov} frame {frame}" for fov, frame in wanted if (fov, frame) not in held]
    if missing:
        job.log.warning("not in the file: %s", ", ".join(missing))
    if not held:
        raise UserError("none of the frames is in the file; name others with preview.fovs and preview.frames")
    return held


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
