"""Make the digest of one FOV of a run without cells: images, levels, background.

The file is of the same kind as that of digest_fov.py; a FOV of which it cannot be made gets one that says why.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from celltraces.pictures import draw
from celltraces.report.digest import DIGEST, THUMBNAIL, as_webp, write_digest
from celltraces.runs import job
from celltraces.storage import display_level
from celltraces.storage.frames import Frames, open_frames

GAP = 4  # px between two channels of a picture
NARROWEST = 100  # px: width of a channel in a picture of many


def common_middle_frame(arrays: Sequence[Frames]) -> int:
    """The middle one of the frames that the file holds in all of these channels, else in the first of them."""
    n_frames = arrays[0].shape[0]
    present = [frame for frame in range(n_frames) if all(array.present(frame) for array in arrays)]
    present = present or [frame for frame in range(n_frames) if arrays[0].present(frame)] or [0]
    return present[len(present) // 2]


def picture(arrays: Sequence[Frames], frame: int, width: int) -> np.ndarray:
    """One frame of each channel side by side, (h, w, 3) uint8; each from black to white by its own values.

    width: of all of them together, in pixels, unless each would be narrower than NARROWEST.
    """
    width = max(width // len(arrays), min(width, NARROWEST))
    parts = []
    for array in arrays:
        image = array.read(frame)
        shape = draw.picture_shape(*image.shape, width)
        shown = draw.grey_picture(draw.resize(display_level.to_bytes(image, *draw.grey_levels([image])), shape))
        parts += [shown, np.full((shown.shape[0], GAP, 3), 255, np.uint8)]
    return np.concatenate(parts[:-1], axis=1)


def levels_of(array: Frames, background: Frames | None) -> dict[str, Any]:
    """The mean of the first and of the last frame that the file holds, and the range (1 to 99 %) of the background.

    In counts, None where there is nothing.
    """
    means = [mean for mean in array.attributes["frame_statistics"]["mean"] if mean is not None]
    return {
        "array": array.path.parent.name,
        "planes": len(means),
        "first": means[0] if means else None,
        "last": means[-1] if means else None,
        "background": list(background.attributes["display_limits"]) if background else None,
    }


def make_digest(channels: Sequence[Path], backgrounds: Sequence[Path], thumbnail_width: int) -> dict[str, bytes]:
    """The files of the digest. channels: the raw arrays. backgrounds: those of the channels that have one.

    In digest.json: `frame` and `bytes` of the picture, and `levels_of` each channel in the list `images`.
    """
    raw = [open_frames(path) for path in channels]
    below = {_number(path): open_frames(path) for path in backgrounds}
    frame = common_middle_frame(raw)
    shown = as_webp(picture(raw, frame, thumbnail_width))
    images = [levels_of(array, below.get(_number(array.path))) for array in raw]
    known = {"frame": frame, "bytes": len(shown), "images": images}
    return {DIGEST: json.dumps(known, sort_keys=True).encode(), THUMBNAIL: shown}


def _number(array: Path) -> str:
    """The channel's number, of an array of images.zarr."""
    return array.parent.name.rsplit("_", 1)[1]


def main(output: str, channels: Sequence[str], backgrounds: Sequence[str], thumbnail_width: int) -> None:
    write_digest(
        Path(output), lambda: make_digest(list(map(Path, channels)), list(map(Path, backgrounds)), thumbnail_width)
    )


if __name__ == "__main__":
    with job.running(snakemake) as settings:
        main(snakemake.output.digest, snakemake.input.channels, snakemake.input.backgrounds, **settings)
