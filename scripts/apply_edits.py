"""Apply a person's edits of tracks: split, join, swap, delete, divide. Cells are then cropped along the edited labels.

The base are the tracked labels, or those that a person corrected in a file; they stay as they are. Written are the
edited labels, their lineage, and a table of the base regions with the cell of each, from which the page that edits
results and the decisions on cells find what is meant without reading all labels again.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from celltraces.edits import regions
from celltraces.edits.records import APPLIED, from_json
from celltraces.edits.replay import replay
from celltraces.errors import UserError
from celltraces.labels import lineage, shared_pixels
from celltraces.labels.regions import FrameTracks, relabel
from celltraces.runs import job
from celltraces.storage.codecs import LABELS
from celltraces.storage.frames import Frames, open_frames, writing


def edit_frame(
    image: np.ndarray, hidden: Mapping[int, np.ndarray], cells: Mapping[int, int], dtype: np.dtype
) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """A frame of base labels (H, W) as its cells after the edits, and the pixels that cells lose to lower numbers.

    hidden: pixels of base labels that `image` does not show, as positions in the flat frame. cells: of the frame's
    labels, those that are not in it become background.
    """
    known = sorted(cells)
    mapping = FrameTracks(np.array(known, image.dtype), np.array([cells[label] for label in known], np.int64))
    labels = relabel(image, mapping, dtype)
    shown = labels.ravel()
    lost: dict[int, list[np.ndarray]] = {}
    for cell, pixels in sorted((cells[label], pixels) for label, pixels in hidden.items() if label in cells):
        there = shown[pixels].copy()
        first = (there == 0) | (there > cell)
        for other in np.unique(there[first & (there > 0)]).tolist():
            lost.setdefault(other, []).append(pixels[first & (there == other)])
        shown[pixels[first]] = cell
        lost.setdefault(cell, []).append(pixels[~first])
    joined = {cell: np.sort(np.concatenate(parts)) for cell, parts in lost.items()}
    return labels, {cell: pixels for cell, pixels in joined.items() if len(pixels)}


def write_edited(base: Frames, found: regions.Regions, cell: np.ndarray, output: Path) -> None:
    """Write the edited labels (T, H, W) of the base's dtype, or uint32 where numbers need it. cell: of each region."""
    highest = int(cell.max(initial=0))
    dtype = base.dtype if highest <= np.iinfo(base.dtype).max else np.dtype(np.uint32)
    kept: dict[str, dict[str, list[int]]] = {}
    attributes = {key: value for key, value in base.attributes.items() if key != "overlaps"}
    attributes |= {"display_limits": [0, highest]}
    with writing(output, base.shape, dtype, LABELS, attributes=attributes) as append:
        for frame in range(base.shape[0]):
            rows = slice(*found.begins[frame : frame + 2])
            cells = {n: to for n, to in zip(found.label[rows].tolist(), cell[rows].tolist(), strict=True) if to}
            labels, lost = edit_frame(base.read(frame), shared_pixels.hidden(base, frame), cells, dtype)
            if lost:
                kept[str(frame)] = {str(number): shared_pixels.to_runs(lost[number]) for number in sorted(lost)}
            append(labels)
        if kept:
            attributes["overlaps"] = kept


def main(
    base: str,
    base_lineage: str,
    edited: str,
    table: str,
    base_regions: str,
    *,
    fov: int,
    edits: Sequence[Mapping[str, Any]],
) -> None:
    labels = open_frames(Path(base))
    found = regions.of_labels(labels)
    origins = lineage.read_table(Path(base_lineage))
    result = replay(found, map(from_json, edits), regions.label_reader(labels), origins)
    if int(result.cell.max(initial=0)) > np.iinfo(np.uint32).max:
        raise UserError(
            f"{base}: its highest cell has the highest number that an array of labels can hold, and the edits make "
            "new cells; give it a lower number in the correction"
        )
    write_edited(labels, found, result.cell, Path(edited))
    seen = {number: result.frames_of(found, number) for number in result.cells}
    lineage.write_lineage(Path(table), fov, seen, lineage.divisions_of(result.origins))
    regions.write_regions(Path(base_regions), found, result.cell)
    for edit in edits:
        outcome = result.outcomes[edit["id"]]
        if outcome.status != APPLIED:
            job.log.warning("%s %s by %s: %s: %s", edit["op"], edit["id"], edit["by"], outcome.status, outcome.reason)
    job.log.info("%d edits; %d cells before, %d after", len(edits), len(np.unique(found.label)), len(seen))


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(
            snakemake.input.base,
            snakemake.input.lineage,
            snakemake.output.edited,
            snakemake.output.lineage,
            snakemake.output.regions,
            **settings,
        )
