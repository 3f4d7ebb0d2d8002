"""Movies of which parts were never imaged."""

import numpy as np

SIDE = 256
L_TILES = [(0, 0), (0, SIDE), (SIDE, 0)]
TOTAL, RADIUS, LIGHT = 184_725, 14, 300


def scene(places, shape, n_frames=1, seed=0, offset=200):
    """Phase contrast (textured disks) and light (disks of 300 counts on 200), (2, T, H, W) uint16."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    disks = np.any([(y - cy) ** 2 + (x - cx) ** 2 <= RADIUS**2 for cy, cx in places], axis=0)
    noise = rng.standard_normal((2, n_frames, *shape))
    phase = 8000 + np.where(disks, 900, 40) * noise[0]
    light = offset + LIGHT * disks + 3 * noise[1]
    return np.clip(np.rint([phase, light]), 0, 65535).astype(np.uint16)


# twelve, four of them in each tile, all with room around them
PLACES = [(y0 + y, x0 + x) for y0, x0 in L_TILES for y, x in ((60, 70), (75, 190), (180, 60), (170, 175))]
