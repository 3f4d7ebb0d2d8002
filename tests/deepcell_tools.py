"""Files of DeepCell Label and DeepCell Tracking, made to be read."""

import io
import json
import tarfile
import zipfile

import numpy as np
import tifffile
from formats_tools import (
    images_for,
    labels_of,
    masks_read,
)

import apply_corrections
from celltraces.exports import deepcell_label
from celltraces.labels.lineage import Division
from celltraces.storage import codecs
from celltraces.storage.codecs import PIXELS
from celltraces.storage.frames import open_frames, writing

SHAPE = (3, 12, 16)
MASKS = {}
for cell, (y0, y1, x0, x1) in {2: (1, 6, 1, 7), 7: (3, 9, 4, 11)}.items():
    MASKS[cell] = np.zeros(SHAPE, bool)
    MASKS[cell][:, y0:y1, x0:x1] = True
MASKS[9] = np.zeros(SHAPE, bool)
MASKS[9][2, 10:, 12:] = True
MASKS[7][2] = False
DIVISIONS = [Division(7, (9,), 2)]


def write(path, masks=None, divisions=DIVISIONS, images=None):
    deepcell_label.write_project(
        path, images or images_for(SHAPE), labels_of(MASKS if masks is None else masks), divisions, pixel_size_um=0.65
    )
    return path


def rewrite(source, target, change=None, **members):
    """A copy of a zip with members replaced, added (bytes) or left out (None)."""
    members = {name.replace("__", "."): data for name, data in members.items()}
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            if name not in members:
                new.writestr(name, old.read(name))
        for name, data in members.items():
            if data is not None:
                new.writestr(name, data)
        if change:
            change(new)
    return target


def tiff(array, axes, **options):
    file = io.BytesIO()
    tifffile.imwrite(
        file, array, ome=True, photometric="minisblack", metadata={"axes": axes}, compression="zlib", **options
    )
    return file.getvalue()


def read_back(path, channels=2, shape=SHAPE):
    with deepcell_label.reading_project(path, shape, channels) as project:
        return masks_read(project), project.divisions, project.notes


def client_export(path, dtype="Uint16Array", **changes):
    """The zip of raw buffers that the program's client makes."""
    images, labels = images_for(SHAPE), labels_of({2: MASKS[2]})
    cells = [{"value": 2, "cell": 2, "t": t, "c": 0} for t in range(3)]
    dimensions = {"width": 16, "height": 12, "duration": 3, "numChannels": 2, "numFeatures": 1, "dtype": dtype}
    members = {
        "dimensions.json": json.dumps(
            {key: value for key, value in (dimensions | changes).items() if value is not None}
        ),
        "labeled.dat": labels.array.astype("<i4").tobytes(),
        "raw.dat": np.stack([image.array for image in images.values()]).astype("<u2").tobytes(),
        "channels.json": json.dumps(list(images)),
        "cells.json": json.dumps(cells),
        "divisions.json": "[]",
        "cellTypes.json": "[]",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def apply(path, folder, masks=MASKS):
    """The stage as the rule runs it; returns what it wrote."""
    channels = []
    for name, image in images_for(SHAPE).items():
        with writing(folder / f"images.zarr/{name}/0", SHAPE, np.uint16, PIXELS) as append:
            [append(frame) for frame in image.array]
        channels.append(str(folder / f"images.zarr/{name}/0"))
    tracked, corrected = (folder / f"images.zarr/seg_{kind}_ch_0/0" for kind in ("tracked", "corrected"))
    with writing(tracked, SHAPE, np.uint16, codecs.LABELS) as append:
        [append(frame) for frame in np.zeros(SHAPE, np.uint16)]
    apply_corrections.main(str(path), channels, str(tracked), str(corrected), str(folder / "lineage.csv"), 4)
    return open_frames(corrected), (folder / "lineage.csv").read_text()


def trk(path, lineage_content=None, raw=None, tracked=None, extra=()):
    labels = labels_of(MASKS).array
    images = np.stack([image.array for image in images_for(SHAPE).values()], axis=-1)
    members = {}
    for name, array in (
        ("raw.npy", images if raw is None else raw),
        ("tracked.npy", labels[..., None] if tracked is None else tracked),
    ):
        file = io.BytesIO()
        np.save(file, array, allow_pickle=True)
        members[name] = file.getvalue()
    entries = {}
    for cell in (2, 7, 9):
        frames = np.flatnonzero((labels == cell).any(axis=(1, 2))).tolist()
        entries[str(cell)] = {
            "label": cell,
            "frames": frames,
            "daughters": [],
            "capped": False,
            "frame_div": None,
            "parent": None,
        }
    for key, change in (lineage_content or {}).items():
        entries[key] = None if change is None else entries.get(key, {}) | change
    members["lineage.json"] = json.dumps({key: entry for key, entry in entries.items() if entry}).encode()
    members |= dict(extra)
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path
