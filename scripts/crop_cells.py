"""Cut every tracked cell's own small movie out of every channel, into cells.zarr.

A cell's window is as large as its largest padded box and follows the cell. Crops are neither masked nor corrected
for background; the mask and the background are channels of their own. Pixel values are stored as float32 / 65535
(attributes `scale`, `offset`), from which raw counts come back exactly.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from celltraces import paths
from celltraces.frames import coverage
from celltraces.labels import shared_pixels
from celltraces.labels.cell_batches import batches
from celltraces.runs import job
from celltraces.storage import display_level
from celltraces.storage.cells import Put, new_store, put_array, put_group
from celltraces.storage.codecs import DISPLAY, LABELS, PIXELS
from celltraces.storage.frames import Frames, open_frames

SCALE = 65535


@dataclass(frozen=True)
class Cells:
    """Where each of N cells is in T frames. Boxes are half-open [y0, x0, y1, x1], 0 where the cell is absent."""

    ids: np.ndarray  # (N,) int32
    valid: np.ndarray  # (N, T) bool
    bboxes: np.ndarray  # (N, T, 4) int32
    areas: np.ndarray  # (N, T) int32: pixels of the cell, 0 where it is absent
    origins: np.ndarray  # (N, T, 2) int32: upper left corner [y0, x0] of the window
    windows: np.ndarray  # (N, 2) int32: height and width of the window


def locate_cells(tracked: Frames) -> Cells:
    """Find every cell's boxes in a (T, H, W) array of tracked labels; windows are as tight as the boxes."""
    n_frames = tracked.shape[0]
    found = [shared_pixels.regions_with_hidden(tracked, frame) for frame in range(n_frames)]
    ids = np.unique(np.concatenate([labels for labels, _, _ in found])).astype(np.int32)
    bboxes = np.zeros((len(ids), n_frames, 4), np.int32)
    areas = np.zeros((len(ids), n_frames), np.int32)
    for frame, (labels, sizes, boxes) in enumerate(found):
        rows = np.searchsorted(ids, labels)
        areas[rows, frame] = sizes
        bboxes[rows, frame] = boxes
    return pad_cells(ids, areas, bboxes, tracked.shape[1:], 0)


def pad_cells(ids: np.ndarray, areas: np.ndarray, bboxes: np.ndarray, shape: Sequence[int], padding: int) -> Cells:
    """Windows around boxes: `padding` pixels on every side, all inside an image of `shape` (H, W)."""
    valid = areas > 0
    size = np.array(shape, np.int32)
    low = np.maximum(bboxes[..., :2] - padding, 0)
    high = np.minimum(bboxes[..., 2:] + padding, size)
    windows = np.where(valid[..., None], high - low, 0).max(axis=1, initial=0).astype(np.int32)
    # Centred on the padded box, then moved inside the image; the box stays within, since it lies in the image too.
    origins = np.clip((low + high - windows[:, None]) // 2, 0, size - windows[:, None])
    return Cells(ids, valid, bboxes, areas, np.where(valid[..., None], origins, 0).astype(np.int32), windows)


def write_cells(tracked: Frames, channels: Sequence[Frames], output: Path, *, crop_padding: int) -> Cells:
    """Write cells.zarr for all tracked cells and return where they are.

    Cells are taken in batches, so that memory does not grow with their number or the length of the movie.
    """
    located = locate_cells(tracked)
    cells = pad_cells(located.ids, located.areas, located.bboxes, tracked.shape[1:], crop_padding)
    names = [paths.cropped_as(channel.path.parent.name) for channel in (tracked, *channels)]
    with new_store(output) as put:
        put_group(put, "")
        n_frames, height, width = tracked.shape
        image = {"frames": n_frames, "height": height, "width": width}
        for channel in channels:
            if paths.is_phase_contrast(channel.path.parent.name):
                image |= coverage.same(channel.attributes)
        put_group(put, "metadata", image)
        for name, data in (
            ("cell_ids", cells.ids),
            ("bboxes", cells.bboxes),
            ("valid_frames", cells.valid),
            ("areas", cells.areas),
            ("crop_origins", cells.origins),
        ):
            put_array(put, f"metadata/{name}", data, LABELS)
        for name in names:
            put_group(put, name)
        uncovered = [coverage.boxes_by_frame(channel.attributes) for channel in (tracked, *channels)]
        for batch in batches(_sizes(cells)):
            for name, channel, boxes in zip(names, (tracked, *channels), uncovered, strict=True):
                for cell, pixels in zip(batch, _collect(channel, cells, batch), strict=True):
                    _put_cell(put, name, channel, cells, cell, pixels, boxes)
    return cells


def _sizes(cells: Cells) -> Iterator[tuple[int, int]]:
    """The row of each cell and the bytes of its pixels in one channel, at most four a pixel."""
    for cell, (height, width) in enumerate(cells.windows.tolist()):
        yield cell, 4 * height * width * int(cells.valid[cell].sum())


def _collect(channel: Frames, cells: Cells, batch: Sequence[int]) -> list[np.ndarray]:
    """Pixels of the cells of a batch in the frames where they are present: (n_present, h, w) each, channel's dtype."""
    rows = np.array(batch)
    valid = cells.valid[rows]
    origins, windows = cells.origins[rows].tolist(), cells.windows[rows].tolist()
    pixels = [np.empty((np.count_nonzero(valid[at]), *windows[at]), channel.dtype) for at in range(len(batch))]
    free = [iter(of_cell) for of_cell in pixels]
    for frame in np.flatnonzero(valid.any(axis=0)).tolist():
        image = channel.read(frame)
        for at in np.flatnonzero(valid[:, frame]).tolist():
            (y, x), (height, width) = origins[at][frame], windows[at]
            next(free[at])[:] = image[y : y + height, x : x + width]
    return pixels


def _put_cell(
    put: Put,
    name: str,
    channel: Frames,
    cells: Cells,
    cell: int,
    pixels: np.ndarray,
    uncovered: Mapping[int, np.ndarray],
) -> None:
    """Write both levels of one cell in one channel, over all frames: 0 where the cell is absent.

    uncovered: boxes (n, 4) of the channel that hold no data, by frame.
    """
    valid = cells.valid[cell]
    key = f"{name}/{cells.ids[cell]}"
    put_group(put, key)
    if paths.is_labels(name):
        crop = (pixels == cells.ids[cell]).astype(np.uint8)
        shared_pixels.show_in_crops(
            crop, channel, int(cells.ids[cell]), np.flatnonzero(valid), cells.origins[cell, valid]
        )
        shown = display_level.half_labels(crop) * np.uint8(255)
        kind, attributes = LABELS, {}
    else:
        crop = pixels.astype(np.float32) / np.float32(SCALE)
        shown = display_level.half(display_level.to_bytes(pixels, *display_level.limits(pixels)))
        kind, attributes = PIXELS, {"scale": SCALE, "offset": 0}
        missing = channel.attributes.get("missing_frames")
        if missing:
            attributes["missing_frames"] = tuple(missing)
        boxes = _boxes_in_crops(uncovered, cells, cell)
        if boxes:
            attributes[coverage.ATTRIBUTE] = boxes
    put_array(put, f"{key}/0", _over_all_frames(crop, valid), kind, attributes)
    put_array(put, f"{key}/1", _over_all_frames(shown, valid), DISPLAY)


def _boxes_in_crops(
    uncovered: Mapping[int, np.ndarray], cells: Cells, cell: int
) -> tuple[tuple[int, int, int, int, int], ...]:
    """Parts of a cell's crops that hold no data, in pixels of the crop: (frame, y0, x0, y1, x1) each, half-open."""
    found = []
    size = np.tile(cells.windows[cell], 2)
    for frame in np.flatnonzero(cells.valid[cell]).tolist() if uncovered else ():
        if frame in uncovered:
            boxes = np.clip(uncovered[frame] - np.tile(cells.origins[cell, frame], 2), 0, size)
            boxes = boxes[(boxes[:, :2] < boxes[:, 2:]).all(axis=1)]
            found += [(frame, *box) for box in boxes.tolist()]
    return tuple(found)


def _over_all_frames(present: np.ndarray, valid: np.ndarray) -> np.ndarray:
    if valid.all():
        return present
    whole = np.zeros((len(valid), *present.shape[1:]), present.dtype)
    whole[valid] = present
    return whole


def main(tracked: str, channels: Sequence[str], output: str, crop_padding: int) -> None:
    cells = write_cells(
        open_frames(Path(tracked)),
        [open_frames(Path(channel)) for channel in channels],
        Path(output),
        crop_padding=crop_padding,
    )
    job.log.info("%d cells; largest window %s px", len(cells.ids), cells.windows.max(axis=0, initial=0).tolist())


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(snakemake.input.tracked, snakemake.input.channels, snakemake.output.cells, **settings)
