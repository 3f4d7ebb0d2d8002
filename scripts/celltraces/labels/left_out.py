"""Record which regions segmentation found and left out because of their size.

On dense cells that run together the regions above `max_object_size` can be nearly all of the cells; of small cells the
opening can leave nothing. They are counted in each frame, and those of one frame are kept to be drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from celltraces.labels import shared_pixels
from celltraces.storage.frames import Frames

TOO_SMALL, TOO_LARGE, TOO_NARROW = 1, 2, 3  # in an image of what was left out; 0: not left out
REASONS = {TOO_LARGE: "too_large", TOO_SMALL: "too_small", TOO_NARROW: "too_narrow"}
LIMITS = {
    "too_large": "max_object_size",
    "too_small": "min_object_size, segmentation_debris",
    "too_narrow": "morph_size x morph_iterations",
}
DETAILS = [name for reason in REASONS.values() for name in (reason, f"{reason}_regions")]
COLOURS = {TOO_LARGE: (70, 110, 255), TOO_SMALL: (255, 255, 255), TOO_NARROW: (190, 120, 255)}
ATTRIBUTE, SHOWN = "left_out", "left_out_shown"  # of the array of labels
MOST = 0.5  # share of the frames above which a row for the whole FOV says it


def parts(result: Any) -> tuple[Any, np.ndarray | None]:
    """What a segmentation method returned for one frame: its labels, and which regions it left out, if it says so."""
    return result if isinstance(result, tuple) and len(result) == 2 else (result, None)


def count(labels: np.ndarray, rejected: np.ndarray | None) -> dict[str, int | None]:
    """Pixels and regions of one frame that were left out.

    labels (H, W): the cells. rejected (H, W) uint8: one of REASONS or 0; None: the method does not tell.
    Returns foreground: pixels of both together; too_large, too_small, too_narrow: pixels; too_large_regions and so on:
    numbers of 4-connected regions; None where the method does not tell.
    """
    import cv2  # the checks read what was counted, and count nothing

    from celltraces.labels.objects import components

    counted: dict[str, int | None] = {"foreground": int(np.count_nonzero(labels))}
    if rejected is None:
        return counted | dict.fromkeys(DETAILS)
    counted |= dict.fromkeys(DETAILS, 0)
    if rejected.max(initial=0):
        for code, reason in REASONS.items():
            mask = (rejected == code).view(np.uint8)
            counted[reason] = cv2.countNonZero(mask)
            counted["foreground"] += counted[reason]
            if counted[reason]:  # numbering costs 20 times as much as counting
                counted[f"{reason}_regions"] = components(mask).area.size - 1
    return counted


def counts_by_frame(counted: Sequence[Mapping[str, int | None]]) -> dict[str, list[int | None]]:
    """The counts of all frames, one list for each."""
    return {name: [of_frame[name] for of_frame in counted] for name in ("foreground", *DETAILS)}


def counts_in_all(of_frames: Mapping[str, Sequence[int | None]]) -> dict[str, int] | None:
    """The sums over all frames, and left_out: pixels for any reason; None where the method does not tell."""
    if None in of_frames["too_large"]:
        return None
    sums = {name: sum(values) for name, values in of_frames.items()}
    return sums | {"left_out": sum(sums[reason] for reason in REASONS.values())}


def in_words(of_frames: Mapping[str, Sequence[int | None]]) -> str:
    """One line for the log."""
    sums = counts_in_all(of_frames)
    if sums is None:
        return "the method does not tell"
    if not sums["left_out"]:
        return "nothing"
    regions = ", ".join(
        f"{sums[f'{reason}_regions']} {reason.replace('_', ' ')} ({limit})"
        for reason, limit in LIMITS.items()
        if sums[reason]
    )
    share = 100 * sums["left_out"] / sums["foreground"]
    return f"{share:.1f} % of the foreground of all frames; regions: {regions}"


def middle_frame(frames: Frames) -> int:
    """The middle one of the frames that the file holds: the one that is shown."""
    present = [frame for frame in range(frames.shape[0]) if frames.present(frame)] or [0]
    return present[len(present) // 2]


def to_show(frame: int, rejected: np.ndarray) -> dict[str, Any]:
    """What was left out of one frame, as runs of pixels in the flat frame; `drawable` is the inverse."""
    flat = rejected.ravel()
    runs = {reason: shared_pixels.to_runs(np.flatnonzero(flat == code)) for code, reason in REASONS.items()}
    return {"frame": frame, **runs}


def drawable(shown: Mapping[str, Any], shape: tuple[int, int]) -> np.ndarray:
    """(H, W) uint8: one of REASONS or 0."""
    flat = np.zeros(shape[0] * shape[1], np.uint8)
    for code, reason in REASONS.items():
        flat[shared_pixels.to_pixels(shown[reason])] = code
    return flat.reshape(shape)


def colours_of_reasons() -> np.ndarray:
    """(4, 3) uint8: the colour of each reason, as `draw.draw_outlines` takes them."""
    return np.uint8([COLOURS.get(code, (0, 0, 0)) for code in range(max(COLOURS) + 1)])


def large_shares(of_frames: Mapping[str, Sequence[int | None]], limit: float) -> list[tuple[int | None, float]]:
    """Frames in which more than a share `limit` of the foreground was left out, and that share.

    The share is of the frame's foreground, or of the median frame's where that is larger: in a frame without cells a
    few specks are all there is. Where it is so in more than half of the frames with foreground, there is one row, for
    the whole FOV (None), with the share of all frames together.
    """
    foreground = np.array(of_frames["foreground"], float)
    if not foreground.any():
        return []
    gone = sum(np.array([value or 0 for value in of_frames[reason]], float) for reason in REASONS.values())
    shares = gone / np.maximum(foreground, np.median(foreground[foreground > 0]))
    frames = np.flatnonzero(shares > limit)
    if len(frames) > MOST * np.count_nonzero(foreground):
        return [(None, float(gone.sum() / foreground.sum()))]
    return [(int(frame), float(shares[frame])) for frame in frames]
