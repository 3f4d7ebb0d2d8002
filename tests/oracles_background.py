"""The plain ways of estimating a background, and frames whose background is known."""

import warnings

import numpy as np
from scipy import ndimage
from scipy.interpolate import BSpline, RectBivariateSpline
from skimage.morphology import disk


def tile_statistics(values, covered, block, q, *, overlap):
    """Quantile, centroid and number of the uncovered pixels of every tile, in loops."""
    rows, columns = (-(-size // block) + overlap for size in values.shape)
    quantile, y, x = np.full((3, rows, columns), np.nan)
    count = np.zeros((rows, columns), int)
    kept = np.where(covered, np.nan, values)
    for i in range(rows):
        for j in range(columns):
            top, left = (i - overlap) * block, (j - overlap) * block
            window = np.s_[max(top, 0) : (i + 1) * block, max(left, 0) : (j + 1) * block]
            count[i, j] = np.isfinite(kept[window]).sum()
            if count[i, j]:
                quantile[i, j] = np.nanquantile(kept[window], q, method="midpoint")
                inside_y, inside_x = np.nonzero(np.isfinite(kept[window]))
                y[i, j] = (inside_y + max(top, 0)).sum() / count[i, j]
                x[i, j] = (inside_x + max(left, 0)).sum() / count[i, j]
    return quantile, y, x, count


def grouped_median(values, width):
    """Median of grouped data: interpolated in the bin of the given width about the median."""
    middle = np.median(values)
    below = (values < middle - width / 2).sum()
    inside = (values < middle + width / 2).sum() - below
    return middle if inside == 0 else middle + width * ((len(values) / 2 - below) / inside - 0.5)


def penalised_spline(z, y, x, weight, shape, intervals, stiffness, slope_share, knot):
    """Values (H, W) of the tensor cubic B-spline that minimises the weighted squares and a bending energy: with dense
    matrices, scipy's B-splines, and the integrals of the penalty as sums over a fine grid."""
    bases, grids = [], []
    for size, number in zip(shape, intervals, strict=True):
        step = size / number
        knots = step * np.arange(-3, number + 4) - 0.5
        splines = BSpline(knots, np.eye(number + 3), 3)
        fine = (np.arange(number * 200) + 0.5) * (size / number / 200) - 0.5
        bases.append(splines)
        # Lengths in units of `knot`, the energy per knot interval.
        grids.append([splines(fine, nu) * knot**nu / np.sqrt(200) for nu in range(3)])
    design = np.einsum("na,nb->nab", bases[0](y), bases[1](x)).reshape(len(z), -1)
    energy = 0
    for dy, dx, factor in ((2, 0, 1), (1, 1, 2), (0, 2, 1), (1, 0, slope_share), (0, 1, slope_share)):
        gram_y, gram_x = (grid[nu].T @ grid[nu] for grid, nu in ((grids[0], dy), (grids[1], dx)))
        energy = energy + factor * np.kron(gram_y, gram_x)
    matrix = design.T @ (weight[:, None] * design) + stiffness * energy
    coefficients = np.linalg.solve(matrix, design.T @ (weight * z))
    full = [splines(np.arange(size)) for splines, size in zip(bases, shape, strict=True)]
    return full[0] @ coefficients.reshape(full[0].shape[1], -1) @ full[1].T


def like_pyama(image, foreground):
    """PyAMA's way: a 21 x 21 square about the cells, medians of 256-pixel tiles (here at least 4 of them a side, as
    it fails below), and a bicubic spline through the tiles' centres, constant beyond the outermost."""
    masked = np.where(ndimage.binary_dilation(foreground, np.ones((21, 21))), np.nan, image)
    edges = []
    for size in image.shape:
        parts = max(-(-size // 256) + 1, 4)
        edges.append(np.rint(np.linspace(0, size, 2 * parts - 1)).astype(int))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        medians = np.array(
            [
                [np.nanmedian(masked[a:b, c:d]) for c, d in zip(edges[1], edges[1][2:], strict=False)]
                for a, b in zip(edges[0], edges[0][2:], strict=False)
            ]
        )
    medians[np.isnan(medians)] = np.nanmedian(masked)
    centres = [(edge[:-2] + edge[2:]) / 2 for edge in edges]
    return RectBivariateSpline(*centres, medians)(*(np.arange(size) for size in image.shape))


def grown(mask, radius):
    return ndimage.binary_dilation(mask, disk(radius))


def smooth_background(shape, kind, low, high):
    """(H, W) float64 background that spans low to high."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    v, u = (2 * y - shape[0]) / max(shape), (2 * x - shape[1]) / max(shape)
    radius = np.hypot(u - 0.1, v + 0.15)
    form = {
        "flat": 0 * u,
        "ramp": 0.7 * u + v,
        "vignette": -(radius**2) + 0.3 * u,
        "lamp": np.exp(-(radius**2) / 0.6) + 0.2 * u - 0.1 * v,
        "cos4": np.cos(0.8 * radius) ** 4 + 0.15 * (u + v),
    }[kind]
    form = form - form.min()
    return low + (high - low) * form / max(form.max(), 1e-9)


def simulated_frame(rng, background, cells=30, *, diameter=(20, 30), light=(300, 4000), blur=1.0, smaller=0, read=6.0):
    """A frame (H, W) uint16 with round cells, Poisson and read noise; the cells' masks (H, W) bool, drawn `smaller`
    pixels less in radius than the cells."""
    y, x = np.mgrid[: background.shape[0], : background.shape[1]]
    fluorescence, mask = np.zeros(background.shape), np.zeros(background.shape, bool)
    for _ in range(cells):
        distance = np.hypot(y - rng.uniform(0, len(y)), x - rng.uniform(0, x.shape[1]))
        radius = rng.uniform(*diameter) / 2
        fluorescence[distance <= radius] = rng.uniform(*light)
        mask |= distance <= radius - smaller
    signal = background + ndimage.gaussian_filter(fluorescence, blur)
    image = rng.poisson(signal) + rng.normal(0, read, background.shape)
    return np.clip(np.rint(image), 0, 65535).astype(np.uint16), mask
