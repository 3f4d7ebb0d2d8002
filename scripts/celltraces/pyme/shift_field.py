"""Read PYME shift fields (.sf) and move a fluorescence channel onto the reference channel.

At the position (x, y) of a channel, in nm from the middle of the first pixel, x + dx(x, y) and y + dy(x, y) are where
the same thing lies in the reference. dx and dy are polynomials (PYME's lin2Model and lin3Model) or splines. There are
three kinds of .sf: JSON and HDF5, which hold coefficients, and pickles, which are programs: they are read on request
only, and then by an unpickler that knows these models and numpy arrays and nothing else.
"""

from __future__ import annotations

import json
import pickletools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from celltraces.errors import UserError
from celltraces.pyme.metadata import hard, read_attribute
from celltraces.storage import safe_unpickling

SCALE_NM = 18_000.0  # x and y are divided by it in lin3Model
# Coefficients by model, each with the powers of x and y that it belongs to.
POWERS: Mapping[str, Mapping[str, tuple[int, int]]] = {
    "lin2Model": {"x0": (0, 0), "mx": (1, 0), "my": (0, 1)},
    "lin3Model": {
        **{"x0": (0, 0), "mx": (1, 0), "my": (0, 1), "mx2": (2, 0), "my2": (0, 2), "mxy": (1, 1)},
        **{"mxy2": (1, 2), "mx2y": (2, 1), "mx3": (3, 0), "my3": (0, 3)},
    },
}
OPTIONAL = {"my3"}  # PYME's own fit has none
SPLINE = "spline"
MODULE = "PYME.Analysis.points.twoColour"
CHANNEL = re.compile(r"Chan(\d\d)\.([XY])")
BAND = 256  # rows
LARGEST = 16 << 20  # bytes; a file has some thousand
FAR_NM = 1e9  # coefficients beyond would move things by metres
HDF5_MAGIC = b"\x89HDF"

Channel = int | str
Shift = Mapping[str, Any]
"""{"model": ..., "x": coefficients of dx, "y": of dy}: by name, or of a spline knots, degrees and coefficients."""


@dataclass(frozen=True)
class Fields:
    """The shifts in a file by the number of the channel; -1 stands for any, in a file that does not say which."""

    shifts: dict[str, Shift]


def read_fields(path: Path, allow_pickle: bool = False) -> Fields:
    """Read an .sf file of any kind. Raises UserError."""
    path = Path(path)
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise ValueError("it is too large")
        if data.startswith(HDF5_MAGIC):
            return Fields(_from_hdf5(path))
        if data.lstrip().startswith(b"{"):
            return Fields(_from_json(data))
        if not allow_pickle and not _is_pickle(data):
            raise UserError(
                f"'{path}' is no shift field: it is neither JSON nor HDF5 nor a pickle; name an .sf file, or make one "
                "from beads with `snakemake --cores 1 shift_field`"
            )
        if not allow_pickle:
            raise UserError(
                f"'{path}' is a pickle, which can run programs: save the field as JSON, or set allow_pickle_sf: true "
                "to take its numbers all the same (nothing in it is run)"
            )
        return Fields({"-1": _from_pickle(data)})
    except OSError as error:
        raise UserError(
            f"'{path}' cannot be read ({error.strerror or 'damaged'}); check the path in the config"
        ) from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:150] or type(error).__name__
        raise UserError(f"'{path}' is no readable shift field: {reason}; estimate it anew") from error


def is_json(path: str | Path) -> bool:
    """Whether a file begins as the JSON kind does."""
    try:
        with open(path, "rb") as file:
            return file.read(100).lstrip().startswith(b"{")
    except OSError:
        return False


def to_json(shifts: Mapping[int, Shift]) -> str:
    """Shifts (lin3Model) by channel, as an .sf of the JSON kind."""
    content: dict[str, Any] = {"shiftModel": f"{MODULE}.lin3Model"}
    for channel, shift in shifts.items():
        content |= {f"Chan{channel:02d}.X": shift["x"], f"Chan{channel:02d}.Y": shift["y"]}
    return json.dumps(content, indent=2, sort_keys=True)


def of_channel(fields: Fields, channel: int, where: str) -> Shift:
    """The shift of one channel: its own, or the only one in the file. Raises UserError, starting with `where`."""
    found = fields.shifts.get(str(channel))
    if found is None and len(fields.shifts) == 1:
        (found,) = fields.shifts.values()
    if found is None:
        known = ", ".join(f"Chan{int(number):02d}" for number in fields.shifts)
        raise UserError(f"{where}: it has no Chan{channel:02d}; there are {known}")
    return found


def _from_json(data: bytes) -> dict[str, Shift]:
    content = json.loads(data)
    return _by_channel(content["shiftModel"], {name: content[name] for name in content if CHANNEL.fullmatch(name)})


def _from_hdf5(path: Path) -> dict[str, Shift]:
    import h5py

    with h5py.File(path, "r", locking=False) as file:
        table, node = hard(file, "shift_map", h5py.Dataset), hard(file, "MetaData", h5py.Group)
        for name in ("Multiview", "shift_map"):
            node = None if node is None else hard(node, name, h5py.Group)
        if table is None or node is None or table.external or table.is_virtual or table.nbytes > LARGEST:
            raise ValueError("it has no shift_map with its metadata")
        rows = table[:]
        model, legend = (read_attribute(node, name) for name in ("model", "legend"))
    names = [name for name in rows.dtype.names or () if any(name in powers for powers in POWERS.values())]
    return _by_channel(
        model, {name: {key: rows[key][row].item() for key in names} for name, row in dict(legend).items()}
    )


def _by_channel(model: Any, columns: Mapping[str, Any]) -> dict[str, Shift]:
    kind = str(model).rpartition(".")[2]
    if kind not in POWERS:
        raise ValueError(f"its model {str(model)[:60]!r} is none of {', '.join(POWERS)}")
    shifts: dict[str, dict[str, Any]] = {}
    for name, coefficients in columns.items():
        found = CHANNEL.fullmatch(str(name))
        if not found:
            raise ValueError(f"{str(name)[:20]!r} is no channel")
        shift = shifts.setdefault(str(int(found[1])), {"model": kind})
        shift[found[2].lower()] = _coefficients(kind, coefficients, str(name))
    if not shifts or any("x" not in shift or "y" not in shift for shift in shifts.values()):
        raise ValueError("it has no channel with both X and Y")
    return shifts


def _coefficients(model: str, given: Any, name: str) -> dict[str, float]:
    wanted = POWERS[model]
    missing = [key for key in wanted if key not in given and key not in OPTIONAL]
    if missing:
        raise ValueError(f"{name} has no {missing[0]}")
    return {key: _finite(given.get(key, 0.0), f"{name}, {key}") for key in wanted}


def _finite(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < FAR_NM:
        raise ValueError(f"{name} is no usable number")
    return float(value)


# ------------------------------------------------------------------------------------------------------------- pickles


class _Lin2(safe_unpickling.Thing):
    model = "lin2Model"


class _Lin3(safe_unpickling.Thing):
    model = "lin3Model"


class _Spline(safe_unpickling.Thing):
    model = SPLINE


ALLOWED = {
    **safe_unpickling.NUMPY,
    f"{MODULE}.lin2Model": _Lin2,
    f"{MODULE}.lin3Model": _Lin3,
    **{
        f"scipy.interpolate.{module}.{kind}BivariateSpline": _Spline
        for module in ("fitpack2", "_fitpack2")
        for kind in ("Smooth", "LSQ", "Rect", "")
    },
}


def _is_pickle(data: bytes) -> bool:
    """Whether these bytes are the operations of a pickle from the first to the last; none of them is run."""
    try:
        return any(operation.name == "STOP" for operation, *_ in pickletools.genops(data))
    except Exception:  # what is no pickle ends in errors of every kind
        return False


def _from_pickle(data: bytes) -> Shift:
    models = safe_unpickling.load(data, ALLOWED)
    if not isinstance(models, tuple | list) or len(models) != 2 or len({type(model) for model in models}) != 1:
        raise ValueError("its pickle is no pair of models")
    if not isinstance(models[0], _Lin2 | _Lin3 | _Spline):
        raise ValueError("its pickle is no pair of models")
    kind = models[0].model
    return {
        "model": kind,
        **{
            axis: _spline(vars(model)) if kind == SPLINE else _coefficients(kind, vars(model), axis)
            for axis, model in zip("xy", models, strict=True)
        },
    }


def _spline(given: Mapping[str, Any]) -> dict[str, Any]:
    """Knots, degrees and coefficients, if they belong together."""
    tx, ty, c = (np.asarray(part, np.float64) for part in given["tck"][:3])
    kx, ky = (int(degree) for degree in given["degrees"])
    rows, columns = len(tx) - kx - 1, len(ty) - ky - 1
    fits = 1 <= kx <= 5 and 1 <= ky <= 5 and rows > kx and columns > ky and c.shape == (rows * columns,)
    fits = fits and all(np.isfinite(part).all() and (np.abs(part) < FAR_NM).all() for part in (tx, ty, c))
    if not fits or (np.diff(tx) < 0).any() or (np.diff(ty) < 0).any():
        raise ValueError("the knots of its spline are damaged")
    return {"tx": tx.tolist(), "ty": ty.tolist(), "c": c.tolist(), "degrees": [kx, ky]}


# ------------------------------------------------------------------------------------------------------------ shifting


def shift_at(shift: Shift, x_nm: np.ndarray, y_nm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """dx and dy in nm at positions of the channel, arrays of one shape."""
    evaluate = _evaluate_spline if shift["model"] == SPLINE else _evaluate
    return tuple(evaluate(shift["model"], shift[axis], x_nm, y_nm) for axis in "xy")


def _evaluate(model: str, coefficients: Mapping[str, float], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    unit = SCALE_NM if model == "lin3Model" else 1.0
    x, y = x / unit, y / unit
    powers_x, powers_y = ((1.0, axis, axis * axis, axis * axis * axis) for axis in (x, y))
    result = np.zeros(np.broadcast(x, y).shape)
    for name, (of_x, of_y) in POWERS[model].items():
        if coefficients[name]:
            result += coefficients[name] * powers_x[of_x] * powers_y[of_y]
    return result


def _evaluate_spline(_: str, spline: Mapping[str, Any], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """As FITPACK does it: beyond the outermost knots everything is as it is there."""
    from scipy.interpolate import NdBSpline

    tx, ty = (np.array(spline[name]) for name in ("tx", "ty"))
    kx, ky = spline["degrees"]
    c = np.reshape(spline["c"], (len(tx) - kx - 1, len(ty) - ky - 1))
    places = [np.clip(x, tx[kx], tx[-kx - 1]), np.clip(y, ty[ky], ty[-ky - 1])]
    return NdBSpline((tx, ty), c, (kx, ky))(np.stack(np.broadcast_arrays(*places), axis=-1))


def refuse_far(shift: Shift, shape: Sequence[int], pixel_nm: float, where: str) -> None:
    """Raise UserError, its line starting with `where`, for a field that moves anything farther than the image is wide.

    Looked at on a grid of 33 x 33 places, which a polynomial of the third degree does not escape.
    """
    height, width = shape
    y, x = np.meshgrid(*(np.linspace(0, side - 1, 33) * pixel_nm for side in shape), indexing="ij")
    dx, dy = shift_at(shift, x, y)
    farthest = max(float(np.abs(dx).max()) / (width * pixel_nm), float(np.abs(dy).max()) / (height * pixel_nm))
    if not farthest < 1:
        far_px = max(np.abs(dx).max(), np.abs(dy).max()) / pixel_nm
        raise UserError(
            f"{where}: it moves things by {far_px:.0f} px in images of {width} x {height} px; is it in nm, and of this "
            "microscope?"
        )


def sources(shift: Shift, shape: Sequence[int], pixel_nm: float, where: str) -> tuple[np.ndarray, np.ndarray]:
    """For each pixel of the reference its place in the channel, y and x in pixels, (H, W) float64.

    The p with p + d(p) = pixel, by repeating p = pixel - d(p), which converges where d changes slower than p does.
    """
    places = np.empty((2, *shape))
    for top in range(0, shape[0], BAND):  # the rows of a band at once, to bound memory
        y, x = np.mgrid[top : min(top + BAND, shape[0]), : shape[1]].astype(np.float64)
        from_y, from_x = y, x
        change = np.inf
        for _ in range(100):
            dx, dy = shift_at(shift, from_x * pixel_nm, from_y * pixel_nm)
            next_y, next_x = y - dy / pixel_nm, x - dx / pixel_nm
            change = max(np.abs(next_y - from_y).max(), np.abs(next_x - from_x).max())
            from_y, from_x = next_y, next_x
            if not 1e-6 <= change < 1e6:
                break
        if not change < 1e-6:
            raise UserError(f"{where}: the field folds the image; estimate it anew, with beads all over the image")
        places[:, top : top + BAND] = from_y, from_x
    return places[0], places[1]


def shifted(image: np.ndarray, places: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """The image (H, W) uint16 as the reference sees it, uint16: linear between pixels, beyond the edge as on it."""
    from scipy.ndimage import map_coordinates

    values = map_coordinates(image.astype(np.float32), places, order=1, mode="nearest", output=np.float32)
    return np.rint(values).astype(np.uint16)
