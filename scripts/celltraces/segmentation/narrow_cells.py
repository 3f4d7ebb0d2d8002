"""Keep cells that are narrower than the disk of the opening.

The opening takes debris away, which is small, and every cell that is narrower than its disk. Debris in phase contrast
is mostly fainter than cells: of what only a smaller disk would leave in the T98G frames, none of which is a cell, the
standard deviation (STD) is half of the cells' in the median, while small simulated cells have that of the large ones.
And where cells are large, what is small is dust.
"""

import numpy as np

from celltraces.labels.objects import Components, components, in_raster_order, means, pixels_of
from celltraces.segmentation.mask_objects import at_edge, usual_area, vanished

FAINT = 0.75  # times the STD of what the opening left: what is fainter is debris
SMALL = 4  # an object has at least the fourth part of a usual one's pixels: what is smaller is dust


def with_narrow_cells(
    opened: np.ndarray,
    regions: Components,
    less: np.ndarray,
    spread: np.ndarray,
    max_size: int,
    uncovered: np.ndarray | None = None,
) -> tuple[np.ndarray, Components]:
    """`opened` with the objects of which it has no pixel, but one opening less has, where they look like its own.

    opened: (H, W) uint8 0/1, after two openings or more, with objects `regions`. less: the same after one opening less.
    spread: (H, W), what `local_variance.n2_variance` gave. An object is added if its STD (root mean square) is at least
    0.75 of that of all pixels of `opened`, and it has a fourth of the pixels of a usual object, unless the edge of the
    image (or pixels without data, `uncovered` (H, W) bool) cuts it. Half of the pixels are in objects of the usual size
    or smaller ones; those above `max_size` do not count, unless there are no others. Where `opened` is empty nothing
    tells cells from debris, and nothing is added. Returns the mask and its objects.
    """
    if not regions.start.size:
        return opened, regions
    objects = components(less)
    lost = vanished(objects, regions)
    if not lost.any():
        return opened, regions
    areas = regions.area[1:]
    within = areas[areas <= max_size]
    large = SMALL * objects.area >= usual_area(within if within.size else areas)
    pixels, owner = pixels_of(objects, lost)
    large[owner[at_edge(pixels, opened.shape, uncovered)]] = True
    if not (large & lost).any():
        return opened, regions
    variance = means(owner, spread.ravel().take(pixels), objects.area)
    of_all = spread[opened.view(bool)].sum(dtype=np.float64) / areas.sum()
    added = (variance >= FAINT**2 * of_all) & large & lost
    if not added.any():
        return opened, regions
    result = opened.copy()
    result.ravel()[pixels[added.take(owner)]] = 1
    return result, in_raster_order(regions, objects._replace(area=np.where(added, objects.area, 0)))
