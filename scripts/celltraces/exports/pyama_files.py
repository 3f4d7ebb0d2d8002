"""Write PyAMA's own files: a .npy stack per array, and the crops of all cells in one HDF5 file.

Names, types and groups are those of PyAMA's documentation. Crops have `crop_padding` pixels around the cell, in every
frame anew; `bboxes` are the boxes of the crops. The documentation gives frames two names, `frame_000` in its tree and
`frame_0000` in its example: the second is the dataset, the first a link to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from celltraces import paths
from celltraces.errors import UserError
from celltraces.exports.fov import Fov
from celltraces.files import whole
from celltraces.labels import shared_pixels
from celltraces.labels.cell_batches import batches
from celltraces.storage.hdf5 import new_file, new_group

if TYPE_CHECKING:
    import h5py

Box = tuple[int, int, int, int, int]  # frame, y0, x0, y1, x1


def export(fov: Fov, outputs: Sequence[Path]) -> None:
    """Write each array as .npy, and the crops of all cells as one HDF5 file."""
    assert fov.labels is not None
    arrays = {**fov.channels, **fov.earlier, paths.cropped_as(fov.labels.path.parent.name): fov.labels}
    for path in outputs:
        if path.suffix == ".npy":
            write_stack(path, arrays[path.stem.removeprefix(f"{fov.base}_")])
        else:
            backgrounds = {
                name.replace("_background", ""): array for name, array in fov.earlier.items() if "_background_" in name
            }
            # where a channel is both, what was registered is the flat one
            made = [name for kind in ("_flat_", "_registered_") for name in fov.earlier if kind in name]
            aligned = {paths.cropped_as(name): fov.earlier[name] for name in made}
            write_crops(path, {**fov.channels, **aligned}, backgrounds, fov.labels, fov.settings["crop_padding"])


def write_stack(path: Path, frames: shared_pixels.FrameStack) -> None:
    """Write a (T, H, W) array frame by frame; uint16, backgrounds float32."""
    dtype = np.dtype("<f4" if frames.dtype.kind == "f" else "<u2")
    with whole(path) as partial, open(partial, "wb") as file:
        header = {"descr": dtype.str, "fortran_order": False, "shape": tuple(frames.shape)}
        np.lib.format.write_array_header_1_0(file, header)
        for frame in range(frames.shape[0]):
            image = frames.read(frame)
            if dtype.kind == "u" and image.max(initial=0) > 65535:
                raise UserError(
                    f"{path.name}: frame {frame} has label {image.max()}; numbers in PyAMA's files end at 65535"
                )
            file.write(image.astype(dtype).tobytes())


def write_crops(
    path: Path,
    channels: Mapping[str, shared_pixels.FrameStack],
    backgrounds: Mapping[str, shared_pixels.FrameStack],
    labels: shared_pixels.FrameStack,
    padding: int,
) -> None:
    """Write the crops of all cells; backgrounds under the names of their channels."""
    boxes = _boxes(labels, padding)
    with whole(path) as partial, new_file(partial) as file:
        for batch in batches(_sizes(boxes, len(channels) + len(backgrounds) + 1)):
            crops = _collect(batch, boxes, channels, backgrounds, labels)
            for cell in batch:
                _write_cell(file, cell, boxes[cell], crops[cell], bool(backgrounds))


def _boxes(labels: shared_pixels.FrameStack, padding: int) -> dict[int, list[Box]]:
    """Frame and padded box of every cell in every frame in which it is, by cell."""
    n_frames, height, width = labels.shape
    boxes: dict[int, list[Box]] = {}
    for frame in range(n_frames):
        cells, _, found = shared_pixels.regions_with_hidden(labels, frame)
        for cell, (y0, x0, y1, x1) in zip(cells.tolist(), found.tolist(), strict=True):
            low, high = (
                (max(y0 - padding, 0), max(x0 - padding, 0)),
                (min(y1 + padding, height), min(x1 + padding, width)),
            )
            boxes.setdefault(cell, []).append((frame, *low, *high))
    return dict(sorted(boxes.items()))


def _sizes(boxes: Mapping[int, Sequence[Box]], n_arrays: int) -> Iterator[tuple[int, int]]:
    """Each cell and the bytes of its crops in so many arrays, of at most four bytes a pixel."""
    for cell, entries in boxes.items():
        yield cell, 4 * n_arrays * sum((y1 - y0) * (x1 - x0) for _, y0, x0, y1, x1 in entries)


def _collect(
    batch: Sequence[int],
    boxes: Mapping[int, Sequence[Box]],
    channels: Mapping[str, shared_pixels.FrameStack],
    backgrounds: Mapping[str, shared_pixels.FrameStack],
    labels: shared_pixels.FrameStack,
) -> dict[int, dict[str, list[np.ndarray]]]:
    """Crops of the cells of a batch by the group they go to, in the order of their frames."""
    groups = {f"channels/{name}": array for name, array in channels.items()}
    groups |= {f"backgrounds/{name}": array for name, array in backgrounds.items()}
    crops: dict[int, dict[str, list[np.ndarray]]] = {cell: {name: [] for name in ("masks", *groups)} for cell in batch}
    by_frame: dict[int, list[tuple[int, slice, slice]]] = {}
    for cell in batch:
        for frame, y0, x0, y1, x1 in boxes[cell]:
            by_frame.setdefault(frame, []).append((cell, slice(y0, y1), slice(x0, x1)))
    for frame, places in sorted(by_frame.items()):
        images = {name: array.read(frame) for name, array in groups.items()}
        image = labels.read(frame)
        extra = shared_pixels.hidden(labels, frame)
        for cell, rows, columns in places:
            for name, pixels in images.items():
                crops[cell][name].append(pixels[rows, columns].copy())
            mask = image[rows, columns] == cell
            if cell in extra:
                y, x = np.divmod(extra[cell], image.shape[1])
                mask[y - rows.start, x - columns.start] = True
            crops[cell]["masks"].append(mask)
    return crops


def _write_cell(
    file: h5py.File, cell: int, boxes: Sequence[Box], crops: Mapping[str, Sequence[np.ndarray]], with_background: bool
) -> None:
    import h5py

    group = new_group(file, f"cell_{cell:04d}")
    table = np.array(boxes, np.int32)
    options: dict[str, Any] = {"compression": "gzip", "track_times": False}
    group.create_dataset("bboxes", data=table, **options)
    group.create_dataset("frames", data=table[:, 0], **options)
    for parent in ("channels", *(("backgrounds",) if with_background else ())):
        new_group(group, parent)
    for name, images in crops.items():
        target = new_group(group, name)
        for (frame, *_), image in zip(boxes, images, strict=True):
            target.create_dataset(f"frame_{frame:04d}", data=image, **options)
            if frame < 1000:
                target[f"frame_{frame:03d}"] = h5py.SoftLink(f"frame_{frame:04d}")
