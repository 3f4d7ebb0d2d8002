"""Read a PYME point spread function and measure how wide a point of light is in the image.

A .tif (floats, ZYX or YX, with its voxel size), or a .psf of PYME: the pickle of an array (X, Y, Z) and a voxel size in
um, of which numbers are taken and nothing is run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from celltraces.errors import UserError
from celltraces.pyme import tiff
from celltraces.storage import safe_unpickling

LARGEST = 1 << 28  # bytes of a .psf; 61 x 61 x 61 values are 2 MB
ALLOWED = {
    **safe_unpickling.NUMPY,
    "types.SimpleNamespace": safe_unpickling.Thing,
    **{f"PYME.IO.MetaDataHandler.{name}": safe_unpickling.Thing for name in ("NestedClassMDHandler", "VoxelSize")},
}


@dataclass(frozen=True)
class Spread:
    """Standard deviation of the spot in the plane in which it is sharpest, and the size of a pixel."""

    sigma_px: float
    pixel_size_um: float


def read_spread(path: Path) -> Spread:
    """Measure the point spread function in a file. Raises UserError for one that cannot be used."""
    path = Path(path)
    if path.suffix.lower() not in (*tiff.ENDINGS, ".psf"):
        raise UserError(f"'{path}' ends neither with .psf nor with {' or '.join(tiff.ENDINGS)}; name such a file")
    pixels, size_um = _read_tif(path) if path.suffix.lower() in tiff.ENDINGS else _read_psf(path)
    if pixels.dtype.kind != "f" or not np.isfinite(pixels).all() or pixels.ndim not in (2, 3) or min(pixels.shape) < 1:
        raise UserError(f"'{path}' holds {pixels.dtype} of shape {pixels.shape}; a PSF is an image of floats, 2D or 3D")
    if size_um is None or not 1e-3 <= size_um <= 1e3:
        raise UserError(f"'{path}' has no size of its pixels; save it with voxelsize.x in um")
    stack = pixels if pixels.ndim == 3 else pixels[None]
    plane = stack[np.unravel_index(stack.argmax(), stack.shape)[0]].astype(np.float64)
    return Spread(round(_sigma(plane, path), 4), float(size_um))


def _sigma(plane: np.ndarray, path: Path) -> float:
    """Standard deviation, in pixels, of the round Gaussian on a flat background that fits best.

    Not the second moment of the image: that grows with every ring and every bit of background within it.
    """
    from scipy.optimize import least_squares

    y, x = np.mgrid[: plane.shape[0], : plane.shape[1]]
    peak = np.unravel_index(plane.argmax(), plane.shape)
    height, floor = float(plane.max() - np.median(plane)), float(np.median(plane))
    wide = np.sqrt(np.count_nonzero(plane > floor + height / 2) / np.pi / np.log(4))
    unit = height or 1.0

    def off(guess: np.ndarray) -> np.ndarray:
        amplitude, centre_x, centre_y, sigma, background = guess
        bell = np.exp(-((x - centre_x) ** 2 + (y - centre_y) ** 2) / (2 * sigma**2))
        return (amplitude * bell + background - (plane - floor) / unit).ravel()

    found = least_squares(off, [1.0, peak[1], peak[0], max(wide, 0.5), 0.0])
    sigma = abs(float(found.x[3]))
    if not found.success or not height > 0 or not 0.3 <= sigma <= min(plane.shape) / 2:
        raise UserError(f"'{path}' shows no single spot that a Gaussian fits; is it a point spread function?")
    return sigma


def _read_tif(path: Path) -> tuple[np.ndarray, float | None]:
    image = tiff.read_tiff(path)
    return image.pixels, image.voxel_um.get("x")


def _read_psf(path: Path) -> tuple[np.ndarray, float | None]:
    """The array as (Z, Y, X)."""
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError("it is too large")
        pixels, voxel = safe_unpickling.load(path.read_bytes(), ALLOWED)
        size = getattr(voxel, "x", None) if isinstance(voxel, safe_unpickling.Thing) else voxel[0]
        return np.asarray(pixels).T, size if isinstance(size, int | float) else None
    except OSError as error:
        raise UserError(f"'{path}' cannot be opened ({error.strerror}); check the path") from None
    except (ValueError, TypeError, LookupError) as error:
        reason = " ".join(str(error).split())[:150]
        raise UserError(f"'{path}' is no readable .psf: {reason}; save it as .tif in PYME") from error
