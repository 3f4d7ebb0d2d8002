"""Load features that a user defines in a Python file (config key `plugins`)."""

from collections.abc import Callable
from numbers import Real
from typing import NamedTuple

import numpy as np

from celltraces.array_types import Float, Mask
from celltraces.errors import UserError
from celltraces.features.cell_features import FLUORESCENCE_FEATURES, PHASE_FEATURES, Cell, Feature
from celltraces.plugins import load_file


class Context(NamedTuple):
    """What a plugin's feature may want to know besides image and mask."""

    label: object  # the cell's ID
    frame: int  # number of the frame in the movie
    origin: tuple[int, int]  # y and x of the crop's first pixel in the image
    raw: Float | None  # (h, w) counts as the camera gave them
    background: Float | None  # (h, w) background that was estimated, in counts
    background_weight: float


# (image (h, w) float64 or None, mask (h, w) bool, context) -> one number
PluginFeature = Callable[[Float | None, Mask, Context], float]

_REGISTRIES = {"PHASE_FEATURES": PHASE_FEATURES, "FLUORESCENCE_FEATURES": FLUORESCENCE_FEATURES}
plugin_of: dict[tuple[str, str], str] = {}


def load_plugin(path: str) -> list[str]:
    """Add the features that a Python file defines to the registries; returns their names.

    The file lists its functions by name in a dict `PHASE_FEATURES`, `FLUORESCENCE_FEATURES` or both:

        def texture(image, mask, context):
            return image[mask].std() / image[mask].mean()

        FLUORESCENCE_FEATURES = {"texture": texture}

    A function gets one frame of one cell, and returns one number: image (h, w) float64, counts without background (of
    phase contrast: as they are), mask (h, w) bool, and a `Context`. It is not called where the mask is empty.

    Raises UserError, and adds nothing, if the file cannot be imported, lists no features, or uses a name that is
    taken. Loading a file again replaces what it had added.
    """
    module = load_file(path, "plugins")
    found: dict[tuple[str, str], Feature] = {}
    for kind, registry in _REGISTRIES.items():
        listed = getattr(module, kind, {})
        if not isinstance(listed, dict):
            raise UserError(f"plugins: {kind} in {path!r} is no dict of names and functions")
        if listed is registry:
            raise UserError(f"plugins: {path!r} imports {kind}; it has to define a dict of that name of its own")
        for name, function in listed.items():
            if not (isinstance(name, str) and name.isidentifier() and len(name) <= 60 and callable(function)):
                raise UserError(f"plugins: {kind} in {path!r}: {name!r} is no plain name, or its value no function")
            owner = plugin_of.get((kind, name))
            if name in registry and owner != path:
                by = "built in" if owner is None else f"defined by {owner!r}"
                raise UserError(f"plugins: the feature {name!r} in {path!r} is {by} already; give it another name")
            found[kind, name] = _of_plugin(path, name, function)
    if not found:
        raise UserError(
            f"plugins: {path!r} lists no features; it needs a dict PHASE_FEATURES or FLUORESCENCE_FEATURES of functions"
        )
    for (kind, name), feature in found.items():
        _REGISTRIES[kind][name] = feature
        plugin_of[kind, name] = path
    return [name for _, name in found]


def _of_plugin(path: str, name: str, function: PluginFeature) -> Feature:
    """Make a feature of all frames from a plugin's function for one frame."""

    def feature(cell: Cell) -> Float:
        result = np.full(len(cell.mask), np.nan)
        for frame in np.flatnonzero(cell.area):
            origin = (0, 0) if cell.origins is None else tuple(map(int, cell.origins[frame]))
            raw, background = (None if a is None else a[frame].copy() for a in (cell.image, cell.background))
            image = None if cell.image is None else cell.corrected[frame].copy()
            number = int(frame if cell.frames is None else cell.frames[frame])
            context = Context(cell.label, number, origin, raw, background, cell.background_weight)
            where = f"plugins: the feature {name!r} in {path!r}, at cell {cell.label}, frame {context.frame}:"
            try:
                value = function(image, cell.mask[frame].copy(), context)
            except (Exception, SystemExit) as error:
                raise UserError(f"{where} {type(error).__name__}: {' '.join(str(error).split())}") from error
            if isinstance(value, np.ndarray | np.generic) and not value.ndim:
                value = value.item()
            if not isinstance(value, Real):
                raise UserError(f"{where} returned {type(value).__name__}, not one number")
            result[frame] = value
        return result

    return feature
