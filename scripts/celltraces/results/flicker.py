"""Find single frames in which nearly all cells are brighter or darker than in the frame before and in the one after.

A lamp that flickered, a shutter that opened late, a focus that was lost in one channel, or a frame of another place.
Cells light up, bleach or divide one by one, and what they all do at once they do not take back in the next frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

FEWEST = 5  # cells that shine: of fewer nobody knows whether it is all of them
SHINING = 5.0  # times the usual difference of a cell between the frame before and the one after
NEARLY_ALL = 0.8  # of these cells


def flickers(by_frame: Mapping[int, Mapping[str, float]], factor: float) -> Iterator[tuple[int, float]]:
    """Return each frame in which nearly all cells differ from both neighbours by `factor`, and by how much they do.

    by_frame: frame -> cell -> intensity above the background, of one channel. Only cells that shine both before and
    after count. The value is their median against whichever neighbour each differs less from. Of the first and the last
    frame nobody can tell.
    """
    for frame, cells in by_frame.items():
        before, after = by_frame.get(frame - 1, {}), by_frame.get(frame + 1, {})
        common = [cell for cell in cells if cell in before and cell in after]
        if len(common) < FEWEST:
            continue
        now, *beside = (np.array([of[cell] for cell in common]) for of in (cells, before, after))
        low, high = np.minimum(*beside), np.maximum(*beside)
        shining = low > SHINING * np.median(high - low)
        now, low, high = now[shining], low[shining], high[shining]
        if len(now) < FEWEST:
            continue
        for differing, ratios in ((now * factor <= low, now / low), (now >= factor * high, now / high)):
            if np.count_nonzero(differing) >= NEARLY_ALL * len(now):
                yield frame, float(np.median(ratios))
