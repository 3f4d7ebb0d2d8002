"""Read the raw channels of this workflow's own results as input: `{dataset}/fov_000/images.zarr/pc_ch_0`, `fl_ch_1`.

So a movie can be processed anew when the microscope's file is gone. Numbers of FOVs and channels are those of the
names; what was not copied is missing, as are frames that the microscope's file lacked. Z stacks were projected when
they were copied.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from celltraces.frames import coverage
from celltraces.frames.coverage import Boxes
from celltraces.readers.movie import Movie, OpenedMovie
from celltraces.readers.planes_movie import movie_of
from celltraces.tiff import plane_map
from celltraces.tiff.plane_map import FovMap, PlaneMap

if TYPE_CHECKING:
    from celltraces.storage.frames import Frames

FOV = re.compile(r"fov_(\d+)")
RAW = re.compile(r"(pc|fl)_ch_(\d+)")
STORE, LEVEL, DESCRIBED = "images.zarr", "0", "zarr.json"


class Raw(NamedTuple):
    """Folders of arrays by FOV and channel, what describes each FOV, and the kinds (pc, fl) of the channels."""

    arrays: dict[tuple[int, int], Path]
    stores: dict[int, Path]
    kinds: dict[int, str]


def is_results(path: Path) -> bool:
    """Whether a folder is that of a dataset, or the images.zarr of one of its FOVs, with raw channels."""
    try:
        return path.is_dir() and bool(_raw(path).arrays)
    except OSError:  # a folder that may not be looked into
        return False


def contents(path: Path) -> list[Path]:
    """The files that count, in a fixed order."""
    raw = _raw(path)
    described = [store / DESCRIBED for _, store in sorted(raw.stores.items())]
    files = [file for _, array in sorted(raw.arrays.items()) for file in sorted(array.rglob("*")) if file.is_file()]
    return [file for file in described if file.is_file()] + files


def _raw(path: Path) -> Raw:
    if path.name == STORE:
        stores = {0: path}
    else:
        numbered = ((FOV.fullmatch(folder.name), folder / STORE) for folder in sorted(path.iterdir()))
        stores = {int(match[1]): store for match, store in numbered if match and store.is_dir()}
    arrays, kinds = {}, {}
    for fov, store in stores.items():
        for folder in sorted(store.iterdir()):
            found = RAW.fullmatch(folder.name)
            if found and (folder / LEVEL / DESCRIBED).is_file():
                arrays[fov, int(found[2])] = folder / LEVEL
                kinds[int(found[2])] = found[1]
    return Raw(arrays, stores, kinds)


def inspect_results(path: Path) -> Movie:
    """Describe the raw channels; see `movie_file.inspect_movie`."""
    from celltraces.storage.frames import open_frames

    raw = _raw(path)
    stacks = {place: open_frames(array) for place, array in raw.arrays.items()}
    known = {fov: _known(store) for fov, store in raw.stores.items()}
    names = {int(channel): name for facts in known.values() for channel, name in facts.get("channels", {}).items()}
    n_channels = 1 + max(raw.kinds)
    fovs = [_fov(fov, n_channels, stacks, known.get(fov, {})) for fov in range(1 + max(fov for fov, _ in stacks))]
    fovs = plane_map.same_sizes(fovs)
    planes = PlaneMap(
        "celltraces",
        [],
        fovs,
        [names.get(at) or (f"{raw.kinds[at]}_ch_{at}" if at in raw.kinds else f"C{at}") for at in range(n_channels)],
        next((facts["pixel_size_um"] for facts in known.values() if facts.get("pixel_size_um")), None),
        None,
        "uint16",
    )
    return movie_of(planes)


def _fov(fov: int, n_channels: int, stacks: dict[tuple[int, int], Frames], known: dict[str, Any]) -> FovMap:
    own = {channel: stack for (place, channel), stack in stacks.items() if place == fov}
    shapes = {stack.shape for stack in own.values()}
    if len(shapes) > 1:
        raise ValueError(f"the channels of FOV {fov} have different shapes {sorted(shapes)}")
    if not own:
        return FovMap("", plane_map.empty(1, n_channels, 1), np.full(1, np.nan), None)
    n_frames, height, width = shapes.pop()
    where = plane_map.empty(n_frames, n_channels, 1)
    for channel, stack in own.items():
        for frame in range(n_frames):
            where[frame, channel, 0, 0] = fov if stack.present(frame) else -1
    times = known.get("times_min") if str(known.get("times_from", "")).startswith("file") else None
    stamps = np.array(times, float) * 60.0 if times and len(times) == n_frames else np.full(n_frames, np.nan)
    place = known.get("position_um")
    return FovMap(str(known.get("name") or ""), where, stamps, (height, width), position_um=place)


def _known(store: Path) -> dict[str, Any]:
    """What a FOV's images.zarr says of it; empty where a run was stopped before it was written."""
    try:
        found = json.loads((store / DESCRIBED).read_bytes())["attributes"]
    except (OSError, ValueError, LookupError):
        return {}
    return found if isinstance(found, dict) else {}


def open_results(path: Path) -> OpenedMovie:
    """Open the arrays one by one as planes of them are asked for."""
    from celltraces.storage.frames import open_frames

    raw = _raw(path)
    stacks: dict[tuple[int, int], Frames] = {}

    def stack_of(fov: int, channel: int) -> Frames | None:
        if (fov, channel) in raw.arrays and (fov, channel) not in stacks:
            stacks[fov, channel] = open_frames(raw.arrays[fov, channel])
        return stacks.get((fov, channel))

    def read(fov: int, frame: int, channels: Sequence[int], z: int) -> list[np.ndarray | None]:
        found = [stack_of(fov, channel) for channel in channels]
        return [
            stack.read(frame) if stack is not None and frame < stack.shape[0] and stack.present(frame) else None
            for stack in found
        ]

    def uncovered(fov: int, frame: int, channel: int, z: int) -> Boxes:
        stack = stack_of(fov, channel)
        return () if stack is None else tuple(coverage.of_frame(stack.attributes, frame))

    n_frames = max(open_frames(array).shape[0] for array in raw.arrays.values())
    n_fovs = 1 + max(fov for fov, _ in raw.arrays)
    return OpenedMovie(read, (n_fovs, n_frames, 1 + max(raw.kinds), 1), stacks.clear, uncovered)
