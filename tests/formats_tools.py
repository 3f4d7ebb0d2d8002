"""What the tests of formats share: movies of cells that may lie over each other, with their masks as the truth; hostile
pickles."""

import json
import os
from dataclasses import dataclass, field
from xml.etree import ElementTree

import h5py
import numpy as np
import tifffile
import zarr
from hypothesis import strategies as st

import apply_corrections
from celltraces.labels import shared_pixels
from celltraces.pyme import metadata


@dataclass
class Stack:
    """A (T, H, W) array in memory that reads like one on disk."""

    array: np.ndarray
    attributes: dict = field(default_factory=dict)

    @property
    def shape(self):
        return self.array.shape

    @property
    def dtype(self):
        return self.array.dtype

    def read(self, frame):
        return self.array[frame]


def labels_of(masks, dtype=np.uint16):
    """Label stack of {cell: (T, H, W) bool}: the lowest cell wins, the others' pixels go to the attribute."""
    shape = next(iter(masks.values())).shape
    image = np.zeros(shape, dtype)
    for cell in sorted(masks, reverse=True):
        image[masks[cell]] = cell
    lost = {}
    for frame in range(shape[0]):
        for cell in sorted(masks):
            pixels = np.flatnonzero(masks[cell][frame] & (image[frame] != cell))
            if len(pixels):
                lost.setdefault(str(frame), {})[str(cell)] = shared_pixels.to_runs(pixels)
    return Stack(image, {"overlaps": lost})


def masks_of(labels):
    """The inverse of `labels_of`, without cells that are nowhere."""
    cells = {int(cell) for cell in np.unique(labels.array) if cell}
    cells |= {int(cell) for entry in labels.attributes.get("overlaps", {}).values() for cell in entry}
    masks = {}
    for cell in sorted(cells):
        masks[cell] = np.stack([shared_pixels.mask_of(labels, labels.read(t), t, cell) for t in range(labels.shape[0])])
    return masks


def masks_read(project):
    """Masks of a correction that was read, as the stage understands them."""
    frames = [apply_corrections.labels_of_frame(project.values(t), project.cells[t]) for t in range(project.shape[0])]
    image = np.stack([labels for labels, _, _ in frames])
    lost = {
        str(t): {str(c): shared_pixels.to_runs(pixels) for c, pixels in hidden.items()}
        for t, (_, hidden, _) in enumerate(frames)
    }
    return masks_of(Stack(image, {"overlaps": lost}))


def same_masks(left, right):
    assert left.keys() == right.keys()
    for cell in left:
        np.testing.assert_array_equal(left[cell], right[cell])


@st.composite
def movies_of_cells(draw, max_cells=4, overlapping=True):
    """{cell: (T, H, W) bool}; cells without any pixel are left out. Never empty of frames, maybe of cells."""
    shape = (draw(st.integers(1, 4)), draw(st.integers(2, 9)), draw(st.integers(2, 9)))
    cells = draw(st.lists(st.integers(1, 300), max_size=max_cells, unique=True))
    masks, taken = {}, np.zeros(shape, bool)
    for cell in cells:
        mask = np.zeros(shape, bool)
        for frame in range(shape[0]):
            if draw(st.booleans()):
                y0, x0 = draw(st.integers(0, shape[1] - 1)), draw(st.integers(0, shape[2] - 1))
                y1, x1 = draw(st.integers(y0 + 1, shape[1])), draw(st.integers(x0 + 1, shape[2]))
                mask[frame, y0:y1, x0:x1] = True
        if not overlapping:
            mask &= ~taken
            taken |= mask
        if mask.any():
            masks[cell] = mask
    return shape, masks


@st.composite
def divisions_for(draw, masks):
    """Divisions that the frames of the cells allow: daughters begin after their parent's end."""
    from celltraces.labels.lineage import Division

    frames = {cell: np.flatnonzero(mask.any(axis=(1, 2))) for cell, mask in masks.items()}
    free = sorted(frames)
    divisions = []
    for parent in sorted(frames):
        able = [cell for cell in free if frames[cell][0] > frames[parent][-1]]
        if able and draw(st.booleans()):
            daughters = draw(st.lists(st.sampled_from(able), min_size=1, max_size=2, unique=True))
            free = [cell for cell in free if cell not in daughters]
            first = min(int(frames[cell][0]) for cell in daughters)
            divisions.append(Division(parent, tuple(sorted(daughters)), first))
    return divisions


def stack_of(shape, masks):
    return labels_of(masks) if masks else Stack(np.zeros(shape, np.uint16), {"overlaps": {}})


def images_for(shape, names=("pc_ch_0", "fl_ch_1"), seed=0):
    """A stack of random counts for each name."""
    rng = np.random.default_rng(seed)
    return {name: Stack(rng.integers(0, 65536, shape, dtype=np.uint16)) for name in names}


class Bomb:
    """Pickled: a call of os.system that leaves the file `mark`."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch '{self.mark}'",)


# ------------------------------------------------------------------------------- what other programs find in exports


def read_geff(path):
    """Properties of the nodes by name, and the edges (E, 2) as positions of nodes, by zarr itself."""
    group = zarr.open_group(path, mode="r")
    names = group.attrs["geff"]["node_props_metadata"]
    properties = {name: group[f"nodes/props/{name}/values"][:] for name in names}
    return properties, group["edges/ids"][:].astype(np.int64)


def read_trackmate(path):
    """Spots (their numbers by name, sorted by ID) and edges of a TrackMate file."""
    root = ElementTree.parse(path).getroot()
    spots = [{key: float(value) for key, value in spot.items() if key != "name"} for spot in root.iter("Spot")]
    edges = [(int(edge.attrib["SPOT_SOURCE_ID"]), int(edge.attrib["SPOT_TARGET_ID"])) for edge in root.iter("Edge")]
    return sorted(spots, key=lambda spot: spot["ID"]), sorted(edges)


def read_ctc(path):
    """Labels (T, H, W) and the lines of res_track.txt."""
    masks = [tifffile.imread(mask) for mask in sorted((path / "01_RES").glob("mask*.tif"))]
    lines = (path / "01_RES" / "res_track.txt").read_text(encoding="ascii").splitlines()
    return np.stack(masks), [tuple(map(int, line.split())) for line in lines]


def read_playnano(path):
    """Arrays, provenance, frame metadata, and layers and masks by their keys, of a bundle; nothing is unpickled."""
    with np.load(path, allow_pickle=False) as content:
        arrays = {name: content[name] for name in content.files}
    texts = (str(arrays.pop(name)[()]) for name in ("provenance_json", "frame_metadata_json"))
    provenance, metadata = map(json.loads, texts)
    parts = {name: name.partition("__") for name in arrays}
    layers = {key: arrays[name] for name, (group, _, key) in parts.items() if group in ("processed", "masks")}
    return arrays, provenance, metadata, layers


def read_groups(file):
    """All of /MetaData of a spool of PYME by name; {} where there is none."""
    found = {}

    def look(name, node):
        if isinstance(node, h5py.Group):
            for key in node.attrs:
                if key not in metadata.TAKEN:
                    found[f"{name}.{key}".replace("/", ".").lstrip(".")] = metadata.read_attribute(node, key)

    top = metadata.hard(file, "MetaData", h5py.Group)
    if top is not None:
        look("", top)
        top.visititems(look)
    return metadata.checked_metadata(found)
