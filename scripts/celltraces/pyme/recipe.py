"""Run PYME recipes (.yaml) on single images: a choice of its modules with the same names, parameters and results.

A recipe is a list of modules that hand images on to each other by name; what begins with "in" is the image to begin
with, what begins with "out" the result. As there, every module works on float32 with X as the first axis. What would
act along Z or time does nothing here, since there is one plane.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from celltraces.errors import UserError

IMAGE, MASK, LABELS = "image", "mask", "labels"
LARGEST = 1 << 18  # bytes
MANY = 100  # modules
PROJECTIONS = ("Mean", "Sum", "Max", "Median", "Min")


class Number(NamedTuple):
    """A parameter: default and range; `whole`: an integer."""

    default: float
    low: float
    high: float
    whole: bool = False


class Choice(NamedTuple):
    """A parameter that is one of the `allowed` values, the first one by default."""

    allowed: tuple[Any, ...]

    @property
    def default(self) -> Any:
        return self.allowed[0]


class Module(NamedTuple):
    """What PYME calls it, the kind of image that it makes, its parameters, and what it does: f(data, **parameters)."""

    place: str
    makes: str
    parameters: Mapping[str, Number | Choice]
    work: Callable[..., np.ndarray]


def _gaussian(data: np.ndarray, sigmaX: float, sigmaY: float, **_: Any) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(data, (sigmaX, sigmaY))


def _median(data: np.ndarray, sizeX: int, sizeY: int, **_: Any) -> np.ndarray:
    from scipy.ndimage import median_filter

    return median_filter(data, (sizeX, sizeY))


def _above_fraction(data: np.ndarray, fractionThreshold: float) -> np.ndarray:
    """Above the value that the brightest pixels with this share of all light exceed, to 1/5000 of the range."""
    counts, edges = np.histogram(data, bins=5000)
    light = np.cumsum(counts * edges[:-1])
    return data > edges[np.abs(light - (1 - fractionThreshold) * light[-1]).argmin()]


def _label(data: np.ndarray, minRegionPixels: int) -> np.ndarray:
    """4-connected regions of more pixels than `minRegionPixels`, where that is more than 1."""
    from scipy.ndimage import label

    labels = label(data > 0.5)[0]
    if minRegionPixels > 1:
        labels = label((np.bincount(labels.ravel()) > minRegionPixels)[labels] & (labels > 0))[0]
    return labels


def _dilate(data: np.ndarray, radius: int, iterations: int) -> np.ndarray:
    from scipy.ndimage import binary_dilation

    return binary_dilation(data, _disk(radius), iterations=iterations)


def _erode(data: np.ndarray, radius: int, iterations: int) -> np.ndarray:
    from scipy.ndimage import binary_erosion

    return binary_erosion(data, _disk(radius), iterations=iterations)


def _fill(data: np.ndarray, radius: int) -> np.ndarray:
    from scipy.ndimage import binary_fill_holes

    return binary_fill_holes(data, _disk(radius))


def _disk(radius: int) -> np.ndarray:
    """The pixels within `radius` of the middle one, as a footprint."""
    reach = np.arange(-radius, radius + 1)
    return reach[:, None] ** 2 + reach**2 <= radius**2


_SIGMA, _SIZE, _RADIUS = Number(1.0, 0, 200), Number(3, 1, 101, True), Number(1, 0, 100, True)
_DISK = {"radius": _RADIUS, "iterations": Number(1, 1, 100, True)}
MODULES: Mapping[str, Module] = {
    "GaussianFilter": Module(
        "filters",
        IMAGE,
        {"sigmaX": _SIGMA, "sigmaY": _SIGMA, "sigmaZ": _SIGMA, "sigmaT": Number(0.0, 0, 200)},
        _gaussian,
    ),
    "MedianFilter": Module(
        "filters",
        IMAGE,
        {"sizeX": _SIZE, "sizeY": _SIZE, "sizeZ": _SIZE, "sizeT": Number(0, 0, 101, True)},
        _median,
    ),
    "SimpleThreshold": Module(
        "processing",
        MASK,
        {"threshold": Number(0.5, -1e9, 1e9)},
        lambda data, threshold: data > threshold,
    ),
    "FractionalThreshold": Module("processing", MASK, {"fractionThreshold": Number(0.5, 0, 1)}, _above_fraction),
    "Label": Module("processing", LABELS, {"minRegionPixels": Number(10, 0, 1e9, True)}, _label),
    "BinaryDilation": Module("processing", MASK, _DISK, _dilate),
    "BinaryErosion": Module("processing", MASK, _DISK, _erode),
    "BinaryFillHoles": Module("processing", MASK, {"radius": _RADIUS}, _fill),
    # Along Z, of one plane: the plane.
    "Projection": Module(
        "processing", IMAGE, {"kind": Choice(PROJECTIONS), "axis": Number(2, 2, 2, True)}, lambda data, **_: data
    ),
}
# Of every module: how it goes through stacks, of which there are none here.
COMMON = {
    "dimensionality": Choice(("XYZ", "XY", "XYZT")),
    "processFramesIndividually": Choice((False, True)),
}


class Step(NamedTuple):
    """A module of a recipe with all its parameters, and the names of the images it takes and makes."""

    name: str
    source: str
    target: str
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Recipe:
    """Steps in an order in which each finds its image, the names of the first and the last image, and what that is."""

    steps: tuple[Step, ...]
    source: str
    target: str
    makes: str

    def run(self, image: np.ndarray) -> np.ndarray:
        """(H, W) image -> (H, W): an image in float32, or labels."""
        images = {self.source: image.T}
        for step in self.steps:
            images[step.target] = MODULES[step.name].work(images[step.source].astype(np.float32), **step.parameters)
        return images[self.target].T


def labels_cells(recipe: str | None) -> bool:
    """Whether a recipe, if there is one, makes the labels itself, so that no method of segmentation is used."""
    return bool(recipe) and read_recipe(recipe).makes == LABELS


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe. Raises UserError with one line that names the file and the module."""
    import yaml

    try:
        data = Path(path).read_bytes()
        if len(data) > LARGEST:
            raise UserError(f"{str(path)!r} is too large for a recipe")
        content = yaml.safe_load(data)
    except OSError as error:
        raise UserError(f"the file {str(path)!r} cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{str(path)!r} is no YAML: {' '.join(str(error).split())[:120]}") from None
    try:
        if not isinstance(content, list) or not 0 < len(content) <= MANY:
            raise UserError("a recipe is a list of modules")
        return _steps_in_order([_step(entry, at) for at, entry in enumerate(content)])
    except UserError as error:
        raise UserError(f"{str(path)!r}: {error}") from None


def _step(entry: Any, at: int) -> Step:
    if not isinstance(entry, dict) or len(entry) != 1:
        raise UserError(f"module {at} is not of the form `- processing.Label: {{...}}`")
    ((full, given),) = entry.items()
    place, _, name = str(full).rpartition(".")
    module = MODULES.get(name)
    if module is None or place not in ("", module.place):
        known = ", ".join(f"{module.place}.{name}" for name, module in MODULES.items())
        raise UserError(f"the module {str(full)[:60]!r} is not supported; there are {known}")
    if not isinstance(given, dict):
        raise UserError(f"{full}: its parameters are no mapping")
    given = dict(given)
    names = [given.pop(key, default) for key, default in (("inputName", "input"), ("outputName", "filtered_image"))]
    if not all(isinstance(image, str) and image for image in names):
        raise UserError(f"{full}: inputName and outputName are names of images")
    known = {**module.parameters, **COMMON}
    parameters = {key: rule.default for key, rule in module.parameters.items()}
    for key, value in given.items():
        if key not in known:
            raise UserError(f"{full}: the parameter {str(key)[:60]!r} is unknown; there are {', '.join(known)}")
        checked = _checked_parameter(full, key, value, known[key])
        if key in parameters:
            parameters[key] = checked
    return Step(name, *names, parameters)


def _checked_parameter(full: str, key: str, value: Any, rule: Number | Choice) -> Any:
    if isinstance(rule, Choice):
        if value not in rule.allowed:
            raise UserError(f"{full}: {key} is {str(value)[:40]!r}; allowed: {', '.join(map(str, rule.allowed))}")
        return value
    fits = isinstance(value, int | float) and not isinstance(value, bool) and rule.low <= value <= rule.high
    if not fits or (rule.whole and value != int(value)):
        kind = "whole numbers" if rule.whole else "numbers"
        raise UserError(f"{full}: {key} is {str(value)[:40]!r}; allowed: {kind} from {rule.low:g} to {rule.high:g}")
    return int(value) if rule.whole else float(value)


def _steps_in_order(steps: list[Step]) -> Recipe:
    targets = [step.target for step in steps]
    for target in targets:
        if targets.count(target) > 1:
            raise UserError(f"two modules make {target!r}; give each its own name")
    sources = sorted({step.source for step in steps} - set(targets))
    if len(sources) > 1 or any(not source.startswith("in") for source in sources):
        lost = next((source for source in sources if not source.startswith("in")), sources[-1])
        raise UserError(f"no module makes {lost!r}; the one image that a recipe begins with has a name like 'input'")
    results = [target for target in targets if target.startswith("out")]
    if len(results) != 1:
        raise UserError(f"{len(results)} images have a name that begins with 'out', as the one result has to have")
    made: dict[str, str] = dict.fromkeys(sources, IMAGE)
    ordered: list[Step] = []
    while len(ordered) < len(steps):
        ready = [step for step in steps if step.source in made and step.target not in made]
        if not ready:
            waiting = sorted(set(targets) - set(made))
            raise UserError(f"the modules that make {', '.join(waiting)} wait for each other (a cycle)")
        for step in ready:
            ordered.append(step)
            made[step.target] = MODULES[step.name].makes
    makes = made[results[0]]
    if makes == MASK:
        raise UserError("its result is a mask; end with processing.Label, whose regions are the cells")
    return Recipe(tuple(ordered), sources[0], results[0], makes)
