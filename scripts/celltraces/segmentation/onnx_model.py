"""Run a network from an ONNX graph on frames of any size, in tiles that overlap.

docs/segmentation.md has the contract for models of the user's own. A frame goes through the network in tiles of one
size that overlap, so that memory does not grow with the frame; every pixel is taken from the tile in which it lies
deepest.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import cv2
import numpy as np

from celltraces.errors import UserError

TILE = 512  # px, most; a model that takes pictures of one size only has tiles of that size
TRIED = 96  # px, side of the picture that a model is tried on
WIDEST_MARGIN = TILE // 4  # px: wider ones would leave little of a tile
STANDARD = ("", "ai.onnx")  # sets of operators that ONNX itself defines
OUTPUTS = ({"mask"}, {"mask", "edges"}, {"mask", "distance"}, {"mask", "edges", "distance"}, {"flow"}, {"mask", "flow"})
ALLOWED_OUTPUTS = "mask, alone or with edges, distance or flow; or flow alone"
FIXED_SIDES = (16, 2048)  # px, of models that take pictures of one size only
ONE = 0.1  # by which the sum of probabilities may differ from 1, the mean over pixels
UNUSED = "style"  # Cellpose's networks give it beside the flow
IN_SOURCE = re.compile(r"/\S+:\d+ [^()]*\([^()]*\)(?: const)? ")
INSTALL = "params.segmentation_method: the package {} is not installed; run `make setup`, or `.venv/bin/pip install {}`"

Maps = dict[str, np.ndarray]  # (h, w) float32 by the name of the output


@dataclass(frozen=True)
class Contract:
    """What a model expects of a picture. Sizes are pixels of the picture that the network is given."""

    input_range: tuple[float, float] = (0.0, 1.0)  # what dark and bright become
    percentiles: tuple[float, float] = (0.1, 99.9)  # of the frame: what counts as dark and bright
    furthest: float = 0.0  # end of dark and bright, in distances of the 2 and 98 percentiles from the median; 0: none
    multiple: int = 32  # heights and widths must be multiples of it
    margin: int = 64  # how far around a pixel the network looks
    smoothing: float = 0.0  # standard deviation of the Gaussian that the scaled picture is smoothed with
    threshold: float = 0.5  # probability from which a pixel belongs to a cell
    diameter: float | None = None  # of the cells that it knows best
    pixel_size: float | None = None  # um: of the picture in which it sees most
    scales: int = 1  # odd: how many, around the scale that is asked for, it sees a picture at
    flow_length: float = 5.0  # of the flow's vectors, for a step of 1 px
    flow_steps: int = 200  # for which the flow is followed
    flow_error: float = 0.4  # mean squared difference of its directions from those of the cell's shape, at most


@dataclass(frozen=True)
class Model:
    """A model that is ready to run."""

    contract: Contract
    size: tuple[int | None, int | None]  # height and width of all its pictures; None: any
    run: Callable[[np.ndarray], Maps]  # (h, w) float32, in the range and of a size that the contract allows


def try_model(model: Model) -> None:
    """Run a model once, on a small picture of noise. Raises UserError where what it gives breaks the contract."""
    size = [side or TRIED for side in model.size]
    low, high = sorted(model.contract.input_range)
    run_tiled(model, np.random.default_rng(0).uniform(low, high, size).astype(np.float32))


def load_model(data: bytes, name: str, threads: int) -> Model:
    """A model from the bytes of an .onnx file; `name` stands for it in messages. Raises UserError, one line."""
    key = f"params.segmentation_method: {name}"
    proto = _read(data, key)
    contract = _contract({entry.key: entry.value for entry in proto.metadata_props}, key)
    session = _session(data, threads, key)
    taken = session.get_inputs()
    n_channels, size = _input_size(taken, key)
    given = _outputs(session, key)

    def run(picture: np.ndarray) -> Maps:
        channels = np.array(np.broadcast_to(picture, (1, n_channels, *picture.shape)), np.float32, order="C")
        if n_channels == 2:
            channels[:, 1] = 0
        try:
            found = session.run(given, {taken[0].name: channels})
        except Exception as error:
            raise UserError(f"{key} failed on a picture of {picture.shape}: {_line(error)}") from None
        return _maps(given, found, picture.shape, key)

    widest = min((side // 4 for side in size if side), default=WIDEST_MARGIN)
    multiple = math.gcd(contract.multiple, *(side for side in size if side))
    contract = replace(contract, margin=min(contract.margin, widest), multiple=multiple)
    return Model(contract, size, run)


def _read(data: bytes, key: str) -> Any:
    """The model of a file as onnx describes it, if it is one of these versions, and reads nothing from elsewhere."""
    try:
        import onnx
    except ImportError:
        raise UserError(INSTALL.format("onnx", "onnx")) from None
    try:
        proto = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's own kinds
        raise UserError(f"{key} is not an ONNX model ({type(error).__name__})") from None
    for mistake in _foreign(proto.graph):
        raise UserError(f"{key} {mistake}")
    newest = onnx.defs.onnx_opset_version()
    for opset in proto.opset_import:
        if opset.domain in STANDARD and opset.version > newest:
            raise UserError(
                f"{key} is written in opset {opset.version}; allowed: up to {newest}; export it anew with "
                "opset_version=17"
            )
    return proto


def _session(data: bytes, threads: int, key: str) -> Any:
    """A session of onnxruntime for a model."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # otherwise 1.29 and later tell Microsoft of models and machine
    try:
        import onnxruntime
    except ImportError:
        raise UserError(INSTALL.format("onnxruntime", "onnxruntime")) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # Memory of one tile is kept for the next: to clear new pages would take a fifth of the time. Not planned ahead for
    # each size of tiles, which would take twice as much.
    options.enable_mem_pattern = False
    options.use_deterministic_compute = True
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own kinds
        raise UserError(f"{key} cannot be run: {_line(error)}") from None


def _input_size(taken: Sequence[Any], key: str) -> tuple[int, tuple[int | None, int | None]]:
    """How many channels the one input has, and the height and width of its pictures; None: any."""
    if len(taken) != 1 or len(taken[0].shape) != 4 or taken[0].type != "tensor(float)":
        what = "; ".join(f"{one.type} of shape ({', '.join(map(str, one.shape))})" for one in taken) or "nothing"
        raise UserError(f"{key} takes {what}; allowed: one picture, float32 of shape (1, 1, height, width)")
    n_pictures, n_channels, height, width = (side if isinstance(side, int) else None for side in taken[0].shape)
    if n_pictures not in (None, 1):
        raise UserError(f"{key} takes {n_pictures} pictures at once; allowed: 1, or any number")
    if width in (1, 2, 3):
        raise UserError(
            f"{key} takes pictures of shape ({', '.join(map(str, taken[0].shape))}), channels last; allowed: channels "
            "first, (1, 1, height, width); tf2onnx makes it so with --inputs-as-nchw and --outputs-as-nchw"
        )
    if n_channels not in (None, 1, 2, 3):
        raise UserError(
            f"{key} takes {n_channels} channels; allowed: 1; 2, of which the second is empty; or 3, which get the same "
            "picture"
        )
    low, high = FIXED_SIDES
    if any(side is not None and not low <= side <= high for side in (height, width)):
        raise UserError(f"{key} takes pictures of {height} x {width} px; allowed: sides of {low} to {high} px")
    return n_channels or 1, (height, width)


def _outputs(session: Any, key: str) -> list[str]:
    """The names of the outputs that are used."""
    given = [output.name for output in session.get_outputs()]
    given = [name for name in given if name != UNUSED or "flow" not in given]
    if not given or any(not output.type.startswith("tensor(") for output in session.get_outputs()):
        raise UserError(f"{key} gives no arrays; allowed: {ALLOWED_OUTPUTS}")
    if {*given} not in OUTPUTS and (len(given) > 1 or given[0] in ("edges", "distance")):
        raise UserError(f"{key} has the output(s) {', '.join(given)}; allowed: {ALLOWED_OUTPUTS}")
    return given


def _foreign(graph: Any) -> Iterator[str]:
    """What in a graph is more than ONNX's own operators and numbers: code, or files elsewhere."""
    for tensor in (*graph.initializer, *(part for s in graph.sparse_initializer for part in (s.values, s.indices))):
        if tensor.data_location or tensor.external_data:
            yield "keeps numbers in a second file; save it as one file"
    for node in graph.node:
        if node.domain not in STANDARD:
            yield f"uses the operator {node.domain}.{node.op_type}, which is not one of ONNX's own"
        for attribute in node.attribute:
            for tensor in (attribute.t, *attribute.tensors):
                if tensor.data_location or tensor.external_data:
                    yield "keeps numbers in a second file; save it as one file"
            for inner in (attribute.g, *attribute.graphs):
                if inner.node or inner.initializer:
                    yield from _foreign(inner)


def _contract(written: Mapping[str, str], key: str) -> Contract:
    """The contract as the model's metadata state it."""

    def numbers(name: str, n: int) -> list[float]:
        try:
            values = [float(word) for word in written[name].split()]
        except ValueError:
            values = []
        if len(values) != n or not all(map(math.isfinite, values)):
            raise UserError(f"{key}: its metadata say {name}: {written[name][:80]!r}; allowed: {n} number(s)")
        return values

    known = [field.name for field in fields(Contract)]
    for name in written:
        if name not in known and (meant := difflib.get_close_matches(name.lower(), known, 1, 0.8)):
            raise UserError(
                f"{key}: its metadata say {name[:80]!r}; meant is perhaps {meant[0]!r}: rename or remove it"
            )
    stated: dict[str, Any] = {}
    for name in ("input_range", "percentiles"):
        if name in written:
            stated[name] = tuple(numbers(name, 2))
    for name in ("multiple", "margin", "scales", "flow_steps"):
        if name in written:
            (stated[name],) = map(int, numbers(name, 1))
    for name in ("smoothing", "furthest", "threshold", "diameter", "pixel_size", "flow_length", "flow_error"):
        if name in written:
            (stated[name],) = numbers(name, 1)
    contract = Contract(**stated)
    low, high = contract.percentiles
    limits = {
        "input_range two different numbers": contract.input_range[0] != contract.input_range[1],
        f"percentiles 0 to 100, multiple 1 to 256, margin 0 to {WIDEST_MARGIN}": (
            0 <= low < high <= 100 and 1 <= contract.multiple <= 256 and 0 <= contract.margin <= WIDEST_MARGIN
        ),
        "smoothing 0 to 10, furthest 0 or more, threshold between 0 and 1, pixel_size and diameter more than 0": (
            0 <= contract.smoothing <= 10
            and contract.furthest >= 0
            and 0 < contract.threshold < 1
            and (contract.diameter is None or contract.diameter > 0)
            and (contract.pixel_size is None or contract.pixel_size > 0)
        ),
        "scales 1, 3 or 5": contract.scales in (1, 3, 5),
        "flow_length and flow_error more than 0, flow_steps 1 to 2000": (
            contract.flow_length > 0 and 1 <= contract.flow_steps <= 2000 and contract.flow_error > 0
        ),
    }
    for allowed, holds in limits.items():
        if not holds:
            raise UserError(f"{key}: its metadata are out of range; allowed: {allowed}")
    return contract


def _maps(names: Sequence[str], found: Sequence[np.ndarray], shape: tuple[int, int], key: str) -> Maps:
    """The outputs by name; of flow its parts flow_y and flow_x.

    One output of three channels that is not named flow: background, cell, border between cells.
    """
    arrays = {}
    for name, array in zip(names, found, strict=True):
        if array.ndim != 4 or array.shape[0] != 1 or array.shape[2:] != shape:
            raise UserError(
                f"{key}: expected an output {name} of shape (1, channels, {shape[0]}, {shape[1]}), as its picture, got "
                f"{array.shape}"
            )
        arrays[name if len(names) > 1 or name == "flow" else "mask"] = array[0].astype(np.float32, copy=False)
    maps, hint = {}, "let the model end in a sigmoid or softmax"
    if "flow" in arrays:
        maps = _flow(arrays.pop("flow"), "mask" in arrays, key)
    elif len(arrays["mask"]) == 3 and len(names) == 1:
        hint += ", or name the output flow if its channels are flow down, flow right and cell"
        total = arrays["mask"].sum(axis=0)
        if np.abs(total - 1).mean() > ONE:
            raise UserError(
                f"{key}: the three channels of its output must be probabilities of background, cell and border, "
                f"which add up to 1, and add up to {total.min():.3g} to {total.max():.3g}; {hint}"
            )
        background, _, border = arrays["mask"]
        arrays = {"mask": 1 - background[None], "edges": border[None]}
    for name, array in arrays.items():
        if len(array) > (1 if name == "distance" else 2):
            raise UserError(f"{key}: the output {name} has {len(array)} channels; allowed: 1, or 2 (no, yes)")
        values = array[-1]
        if not np.isfinite(values).all():
            raise UserError(f"{key}: the output {name} is not a number everywhere")
        if name != "distance" and (values.min() < -0.001 or values.max() > 1.001):
            raise UserError(
                f"{key}: the output {name} must be probabilities, 0 to 1, and is {values.min():.3g} to "
                f"{values.max():.3g}; {hint}"
            )
        maps[name] = values
    return maps


def _flow(channels: np.ndarray, beside_mask: bool, key: str) -> Maps:
    """flow_y and flow_x, and mask where no other output has it: the third channel is its logit."""
    if len(channels) != (2 if beside_mask else 3):
        raise UserError(
            f"{key}: the output flow has {len(channels)} channels{' beside mask' if beside_mask else ''}; allowed: 3 "
            "(flow down, flow right, cell), or 2 beside an output mask"
        )
    if not np.isfinite(channels).all():
        raise UserError(f"{key}: the output flow is not a number everywhere")
    maps = {"flow_y": channels[0], "flow_x": channels[1]}
    if not beside_mask:
        logit = channels[2]
        if 0 <= logit.min() < 0.05 and 0.95 < logit.max() <= 1:
            raise UserError(
                f"{key}: the third channel of flow must be what a sigmoid makes a probability of, and is a probability "
                "itself; give it as an output of its own, mask"
            )
        maps["mask"] = 1 / (1 + np.exp(-np.clip(logit, -80, 80)))
    return maps


def _line(error: BaseException) -> str:
    """What onnxruntime says, without the file and function of its own source that it names first."""
    return IN_SOURCE.sub("", " ".join(str(error).split()))[:300]


# ------------------------------------------------------------------------------------------------------------- frames


def stretched(frame: np.ndarray, contract: Contract) -> np.ndarray:
    """The frame (H, W) as float32 from dark to bright as the contract has it. What is flat becomes the middle."""
    dark, bright = contract.percentiles
    low, dim, middle, light, high = np.percentile(frame, (dark, 2, 50, 98, bright))
    if contract.furthest and dim < middle < light:
        low = max(low, middle - contract.furthest * (middle - dim))
        high = min(high, middle + contract.furthest * (light - middle))
    if high <= low:  # all but a few pixels are the same
        low, high = frame.min(), frame.max()
    first, last = contract.input_range
    if high <= low:
        return np.full(frame.shape, (first + last) / 2, np.float32)
    return ((np.clip(frame, low, high) - low) * ((last - first) / (high - low)) + first).astype(np.float32)


def resized(picture: np.ndarray, scale: float, contract: Contract) -> np.ndarray:
    """A stretched frame at `scale`, at least one pixel each way: means of pixels where it shrinks, else bilinear."""
    height, width = (max(1, round(side * scale)) for side in picture.shape)
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(picture, (width, height), interpolation=kind)
    return cv2.GaussianBlur(small, (0, 0), contract.smoothing) if contract.smoothing else small


def run_tiled(model: Model, picture: np.ndarray) -> Maps:
    """The model's outputs for a picture (h, w) of any size, each (h, w)."""
    contract = model.contract
    sides = [-(-side // contract.multiple) * contract.multiple for side in picture.shape]
    tile = [own or _tile(side, contract) for own, side in zip(model.size, sides, strict=True)]
    sides = [max(side, width) for side, width in zip(sides, tile, strict=True)]
    beyond = [(0, side - had) for side, had in zip(sides, picture.shape, strict=True)]
    padded = np.pad(picture, beyond, "symmetric")
    whole: Maps = {}
    for y, from_y, to_y in _strips(sides[0], tile[0], contract):
        for x, from_x, to_x in _strips(sides[1], tile[1], contract):
            for name, values in model.run(padded[y : y + tile[0], x : x + tile[1]]).items():
                target = whole.setdefault(name, np.empty(sides, np.float32))
                target[from_y:to_y, from_x:to_x] = values[from_y - y : to_y - y, from_x - x : to_x - x]
    return {name: values[: picture.shape[0], : picture.shape[1]] for name, values in whole.items()}


def _tile(side: int, contract: Contract) -> int:
    """The width of tiles on a side: equal ones, as few as may be of at most TILE."""
    if side <= TILE:
        return side
    rim = 2 * contract.margin
    n_tiles = -(-(side - rim) // (TILE - rim))
    width = rim + -(-(side - rim) // n_tiles)
    return -(-width // contract.multiple) * contract.multiple


def _strips(side: int, tile: int, contract: Contract) -> list[tuple[int, int, int]]:
    """Where tiles of one side begin, and the part (from, to) that is taken of each; they overlap by 2 margins or more.

    Beginnings are multiples of contract.multiple: the network's coarser grids then lie the same in all tiles.
    """
    multiple = contract.multiple
    step = max(multiple, (tile - 2 * contract.margin) // multiple * multiple)
    starts = [*range(0, side - tile, step), side - tile]
    middles = [(earlier + tile + later) // 2 for earlier, later in zip(starts, starts[1:], strict=False)]
    return list(zip(starts, [0, *middles], [*middles, side], strict=True))
