"""Preview: compare what sets of segmentation parameters make of the same frames, as a picture and tables.

The first set is the present one, which the others are compared with. Nothing is judged: the user looks.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from celltraces.errors import UserError
from celltraces.files import write_text
from celltraces.labels import left_out
from celltraces.pictures import draw
from celltraces.preview.comparison import Comparison, compare, rows_as_csv, summarise
from celltraces.preview.picture import assemble, detail, draw_detail, draw_whole
from celltraces.preview.sets import PARAMETERS
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
    *,
    name: str,
    sets: Sequence[Mapping[str, int]],
    frames: Sequence[tuple[int, int]],
    times_min: Sequence[float],
    channel: int,
    planes: Sequence[int | None],
    pyme: Mapping[str, Any] = spool.DEFAULTS,
) -> None:
    """Write the picture, a table with a row for each set, and one with a row for each set and frame."""
    sets = [{key: tried[key] for key in PARAMETERS} for tried in sets]
    rows: list[tuple[str, list[np.ndarray]]] = []
    comparisons: list[list[Comparison]] = [[] for _ in sets]
    by_frame: list[dict[str, Any]] = []
    with ExitStack() as stack:
        read = stack.enter_context(open_movie(Path(raw), pyme))
        gets = [stack.enter_context(cells.open_store(Path(path))) for path in stores]
        held = [tuple(at) for at in json.loads(gets[0]("zarr.json"))["attributes"]["frames"]]
        missing = [f"FOV {fov} frame {frame}" for fov, frame in frames if (fov, frame) not in held]
        if missing:
            job.log.warning("not in the file: %s", ", ".join(missing))
        if not held:
            raise UserError("none of the frames is in the file; name others with preview.fovs and preview.frames")

        def labels(fov: int, frame: int) -> list[np.ndarray]:
            return [cells.get_array(get, f"{fov}/{frame}")[0] for get in gets]

        told = [set(map(tuple, json.loads(get("zarr.json"))["attributes"][left_out.ATTRIBUTE])) for get in gets]

        def rejected(fov: int, frame: int) -> list[np.ndarray | None]:
            name = f"{fov}/{frame}_{left_out.ATTRIBUTE}"
            return [
                cells.get_array(get, name)[0] if (fov, frame) in told_by_set else None
                for get, told_by_set in zip(gets, told, strict=True)
            ]

        places = {fov: detail(labels(*at) for at in held if at[0] == fov) for fov, _ in held}
        for (fov, frame), time in zip(frames, times_min, strict=True):
            if (fov, frame) not in held:
                continue
            image = read_frame(read, fov, frame, channel, planes)
            grey = display_level.to_bytes(image, *draw.grey_levels([image]))
            first, *others = labels(fov, frame)
            gone = rejected(fov, frame)
            tiles = [draw_whole(grey, first, places[fov], gone[0])]
            for at, found_by_set in enumerate((first, *others)):
                found = compare(first, found_by_set, gone[at])
                comparisons[at].append(found)
                tiles.append(draw_detail(grey, first, found_by_set, found, places[fov], gone[at]))
                by_frame.append({**sets[at], "present": not at, "fov": fov, "frame": frame, **summarise([found])})
            rows.append((f"FOV {fov}\nframe {frame}\n{draw.hours_and_minutes(time)}", tiles))
    totals = [summarise(found) for found in comparisons]
    by_set = [{**tried, "present": tried == sets[0], **total} for tried, total in zip(sets, totals, strict=True)]
    write_text(Path(table_of_sets), rows_as_csv(by_set))
    write_text(Path(table_of_frames), rows_as_csv(by_frame))
    title = f"{name}: the same {'frames' if len(rows) > 1 else 'frame'}, segmented with one parameter changed at a time"
    assemble(rows, sets, totals, title, Path(picture))
    for tried, total in zip(sets, totals, strict=True):
        job.log.info("%s: %s", tried, total)


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(
            stores=snakemake.input.labels,
            picture=snakemake.output.picture,
            table_of_sets=snakemake.output.sets,
            table_of_frames=snakemake.output.frames,
            **settings,
        )
