"""Read a folder of PyAMA as input: the stacks `fov_000/{base}_fov_000_pc_ch_0.npy` and `..._fl_ch_1.npy`.

Only raw stacks are read; what PyAMA made of them is made anew. Numbers of FOVs and channels are those of the names;
what is not there is missing, as in a file whose acquisition stopped early. The pixel size comes from `provenance` in
processing_config.yaml, where this workflow wrote it; times are not in the folder (frame_interval, time_mapping).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from celltraces.errors import UserError
from celltraces.readers import damage
from celltraces.readers.movie import Movie, OpenedMovie

STACK = re.compile(r"_fov_(\d+)_(pc|fl)_ch_(\d+)\.npy$")


class Stacks(NamedTuple):
    """The .npy files by FOV and channel, and the names of the channels."""

    files: dict[tuple[int, int], Path]
    channels: list[str]
    n_fovs: int


def is_pyama_folder(path: Path) -> bool:
    """Whether this is a folder with such stacks."""
    return path.is_dir() and any(STACK.search(file.name) for file in path.glob("fov_*/*.npy"))


def stacks(path: Path) -> Stacks:
    """Find the raw stacks of a folder that has some."""
    files: dict[tuple[int, int], Path] = {}
    names: dict[int, str] = {}
    for folder in sorted(path.iterdir()):
        if folder.name.startswith("fov_") and folder.is_dir():
            for file in sorted(folder.iterdir()):
                if found := STACK.search(file.name):
                    place = (int(found[1]), int(found[3]))
                    if place in files:
                        raise UserError(
                            f"'{path}': {files[place].name} and {file.name} are the same FOV and channel; keep one"
                        )
                    files[place] = file
                    names.setdefault(place[1], f"{found[2]}_ch_{found[3]}")
    n_channels = 1 + max(names)
    return Stacks(
        files, [names.get(channel, f"C{channel}") for channel in range(n_channels)], 1 + max(fov for fov, _ in files)
    )


def inspect_stacks(path: Path) -> Movie:
    """What planning needs to know, from the headers of the stacks."""
    found = stacks(path)
    shapes: dict[tuple[int, int], tuple[int, int, int]] = {}
    dtype = ""
    for place, file in found.files.items():
        stack = _open(file)
        shapes[place], dtype = stack.shape, stack.dtype.name
    n_frames = max(shape[0] for shape in shapes.values())
    fovs = []
    for fov in range(found.n_fovs):
        own = {channel: shape for (place, channel), shape in shapes.items() if place == fov}
        sizes = {shape[1:] for shape in own.values()} or {next(iter(shapes.values()))[1:]}
        if len(sizes) > 1:
            raise UserError(f"'{path}': the stacks of FOV {fov} have different sizes {sorted(sizes)}; export it again")
        height, width = sizes.pop()
        missing = [
            [frame, channel]
            for frame in range(n_frames)
            for channel in range(len(found.channels))
            if frame >= own.get(channel, (0,))[0]
        ]
        place = {"name": f"fov_{fov:03d}", "height": height, "width": width}
        unknown = {"times_min": None, "position_um": None, "exposures_ms": [[] for _ in found.channels]}
        fovs.append({**place, **unknown, "senseless_stamps": [], "missing": missing})
    return Movie(
        format="PyAMA",
        dtype=dtype,
        n_frames=n_frames,
        n_z=1,
        channels=found.channels,
        pixel_size_um=_pixel_size_um(path / "processing_config.yaml"),
        period_min=None,
        fovs=fovs,
    )


def open_stacks(path: Path) -> OpenedMovie:
    """Open the stacks, which are mapped into memory one by one as planes of them are asked for."""
    found = stacks(path)
    arrays: dict[tuple[int, int], np.ndarray] = {}
    n_frames = max(_open(file).shape[0] for file in found.files.values())

    def read(fov: int, frame: int, channels: Sequence[int], z: int) -> list[np.ndarray | None]:
        planes: list[np.ndarray | None] = []
        for channel in channels:
            file = found.files.get((fov, channel))
            if file is not None and (fov, channel) not in arrays:
                arrays[fov, channel] = _open(file)
            stack = arrays.get((fov, channel))
            planes.append(None if stack is None or frame >= len(stack) else np.array(stack[frame]))
        return planes

    return OpenedMovie(read, (found.n_fovs, n_frames, len(found.channels), 1), arrays.clear)


def _open(file: Path) -> np.ndarray:
    damage.refuse_pointer(file)
    try:
        stack = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, SyntaxError) as error:
        raise UserError(f"'{file}' is not a readable .npy file ({str(error)[:80]}); export it again") from error
    if stack.ndim != 3 or 0 in stack.shape or stack.dtype.kind not in "ui":
        raise UserError(
            f"'{file}' holds {stack.dtype} of shape {stack.shape}; stacks are (T, H, W) whole numbers: export it again"
        )
    return stack


def _pixel_size_um(record: Path) -> float | None:
    import yaml

    try:
        size = yaml.safe_load(record.read_text(encoding="utf-8"))["provenance"]["pixel_size_um"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return None
    return float(size) if isinstance(size, (int, float)) and 1e-3 <= size <= 1e3 else None


def contents(path: Path) -> list[Path]:
    """The files that the input consists of, in a fixed order."""
    return sorted(stacks(path).files.values())
