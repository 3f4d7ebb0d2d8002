"""Corrected labels that are damaged, hostile or contradict themselves end in one line."""

import gzip
import io
import json
import pickle
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
import tifffile
from deepcell_tools import MASKS, SHAPE, apply, client_export, read_back, rewrite, tiff, trk, write
from formats_tools import (
    images_for,
    labels_of,
)

from celltraces.errors import UserError
from celltraces.exports import deepcell_label

# --------------------------------------------------------------------------------------------------- what is refused


def json_member(name, content):
    return lambda path, target: rewrite(
        path, target, **{name: content if isinstance(content, str) else json.dumps(content)}
    )


def y_member(array, axes="ZYX", **options):
    return lambda path, target: rewrite(path, target, **{"y.ome.tiff": tiff(array, axes, **options)})


def x_member(change, axes="CZYX"):
    def make(path, target):
        stack = np.stack([image.array for image in images_for(SHAPE).values()])
        return rewrite(path, target, **{"X.ome.tiff": tiff(np.ascontiguousarray(change(stack)), axes)})

    return make


def added(*members):
    def make(path, target):
        def change(archive):
            for name, data in members:
                archive.writestr(name, data)

        return rewrite(path, target, change)

    return make


def truncated(path, target):
    target.write_bytes(path.read_bytes()[:-300])
    return target


def flipped(path, target):
    data = bytearray(path.read_bytes())
    data[2000] ^= 255
    target.write_bytes(data)
    return target


def symlink(path, target):
    member = zipfile.ZipInfo("X.link")
    member.create_system, member.external_attr = 3, 0o120777 << 16
    return rewrite(path, target, lambda archive: archive.writestr(member, "/etc/passwd"))


ENTRY = {"value": 2, "cell": 2, "t": 0, "c": 0}
LABELS = labels_of({2: MASKS[2]}).array.astype(np.int32)
BAD = {
    "another FOV": (x_member(lambda x: x[:, :, ::-1]), r"not those of this FOV \(SHA-256 of the pixels .*, here"),
    "rescaled": (x_member(lambda x: x // 2), "SHA-256"),
    "cropped": (x_member(lambda x: x[:, :, 2:]), "X.ome.tiff: its frames, height and width are 3 x 10 x 16"),
    "a frame less": (x_member(lambda x: x[:, 1:]), "2 x 12 x 16, those of this FOV 3 x 12 x 16"),
    "time on T": (x_member(lambda x: x.swapaxes(0, 1), "TCYX"), "its axes are TCYX; they must be CZYX"),
    "labels cropped": (y_member(LABELS[:, 1:]), "y.ome.tiff: its frames, height and width are"),
    "labels on T": (y_member(LABELS, "TYX"), "time on the Z axis"),
    "float labels": (y_member(LABELS.astype(np.float32)), "float32 pixels; labels are whole numbers"),
    "negative labels": (y_member(-LABELS), "frame 0 holds the value -2"),
    "no images": (lambda p, t: rewrite(p, t, **{"X.ome.tiff": None}), "X.ome.tiff is missing"),
    "no labels": (lambda p, t: rewrite(p, t, **{"y.ome.tiff": None}), "y.ome.tiff is missing"),
    "plain TIFF": (lambda p, t: rewrite(p, t, **{"y.ome.tiff": b"II*\0\x08\0\0\0\0\0"}), "y.ome.tiff: "),
    "no TIFF": (lambda p, t: rewrite(p, t, **{"y.ome.tiff": b"what?"}), "y.ome.tiff: not a readable OME-TIFF"),
    "no JSON": (json_member("cells.json", "hi"), "cells.json is not JSON"),
    "NaN": (json_member("cells.json", "[NaN]"), "cells.json is not JSON"),
    "deep JSON": (json_member("cells.json", "[" * 100000), "cells.json is not JSON"),
    "not a list": (json_member("cells.json", {"a": 1}), "cells.json is not a list"),
    "text": (json_member("cells.json", ["hi"]), "cells.json, entry 0: hi lacks"),
    "no t": (json_member("cells.json", [{"value": 2, "cell": 2}]), "entry 0: .* lacks a whole number value, cell or t"),
    "float cell": (json_member("cells.json", [ENTRY | {"cell": 2.5}]), "entry 0"),
    "true": (json_member("cells.json", [ENTRY | {"cell": True}]), "entry 0"),
    "t too large": (json_member("cells.json", [ENTRY, ENTRY | {"t": 3}]), "entry 1: t is 3, and the frames are 0 to 2"),
    "t below 0": (json_member("cells.json", [ENTRY | {"t": -1}]), "t is -1"),
    "cell 0": (json_member("cells.json", [ENTRY | {"cell": 0}]), "count from 1"),
    "c": (json_member("cells.json", [ENTRY | {"c": 1}]), "c is 1, and the features are 0 to 0"),
    "id too large": (json_member("cells.json", [ENTRY | {"cell": 65536}]), "cell 65536; the highest number is 65535"),
    "divisions": (json_member("divisions.json", {"a": 1}), "divisions.json is not a list"),
    "division": (json_member("divisions.json", [{"parent": 2}]), "divisions.json, entry 0"),
    "division t": (json_member("divisions.json", [{"parent": 2, "daughters": [9], "t": 3}]), "t is 3"),
    "parent alive": (json_member("divisions.json", [{"parent": 2, "daughters": [9], "t": 2}]), "cell 2 is still there"),
    "circle": (
        json_member(
            "divisions.json", [{"parent": 2, "daughters": [7], "t": 1}, {"parent": 7, "daughters": [2], "t": 1}]
        ),
        "round in a circle",
    ),
    "two parents": (
        json_member(
            "divisions.json", [{"parent": 2, "daughters": [9], "t": 2}, {"parent": 7, "daughters": [9], "t": 2}]
        ),
        "cell 9 has two parents, 2 and 7",
    ),
    "edit request": (json_member("edit.json", {"action": "draw"}), "an edit request, not a project"),
    "absolute": (added(("/etc/evil", b"x")), "points outside"),
    "climbing": (added(("../../evil.txt", b"x")), "points outside"),
    "climbing on Windows": (added(("..\\evil.txt", b"x")), "points outside"),
    "drive": (added(("C:evil.txt", b"x")), "points outside"),
    "link": (symlink, "points outside"),
    "twice": (added(("cells.json", b"[]")), "cells.json is in it twice"),
    "bomb": (added(("labeled.dat", bytes(1 << 20))), "labeled.dat unpacks to more than 0 MB"),
    "truncated": (truncated, "not a readable zip"),
    "damaged": (flipped, "p.zip|bad.zip"),
    "no zip": (lambda p, t: t.write_bytes(b"PK\x03\x04 no") and t, "not a readable zip"),
    "empty": (lambda p, t: t.write_bytes(b"") or t, "not a readable zip"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", BAD)
def test_bad_zips_end_in_one_line(tmp_path, name):
    make, words = BAD[name]
    path = make(write(tmp_path / "p.zip", divisions=[]), tmp_path / "bad.zip")
    with pytest.raises(UserError, match=words) as caught:
        apply(path, tmp_path)
    assert "bad.zip" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "lineage.csv").exists()
    assert not list(tmp_path.parent.glob("evil*"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dtype": "Uint8Array"}, "raw.dat has 2304 bytes"),
        ({"dtype": "Evil"}, "raw.dat has 2304 bytes"),
        ({"numChannels": 10**9}, "raw.dat has"),
        ({"numFeatures": 0}, "labeled.dat does not have the size"),
        ({"duration": "3"}, "dimensions.json needs the whole numbers"),
        ({"height": 16, "width": 12}, "its frames, height and width are"),
        ({"numChannels": 1, "dtype": None}, "^((?!several).)*$"),  # 4 bytes a pixel: uint32, int32 or float32
    ],
)
def test_bad_exports_of_the_client_end_in_one_line(tmp_path, changes, words):
    with pytest.raises(UserError, match=words if "several" not in words else "several fit raw.dat"):
        apply(client_export(tmp_path / "c.zip", **changes), tmp_path)


def test_a_member_that_lies_about_its_size_is_stopped(tmp_path):
    """The directory of the zip says 10 bytes; what unpacks are 64 MB."""
    path = tmp_path / "lie.zip"
    limit = deepcell_label.SLACK + 8 * 3 * 12 * 16
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("y.ome.tiff", bytes(4 * limit))
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02") + 24
    data[at : at + 4] = (10).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(UserError, match="lie.zip"):
        read_back(path)


def test_a_plane_that_unpacks_to_more_than_a_plane_is_stopped(tmp_path):
    """A strip of 64 MB of zeros in a TIFF that is small enough itself."""
    data = tiff(np.zeros(SHAPE, np.int32), "ZYX")
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        entries = {tag: file.pages[0].tags[tag].valueoffset for tag in ("StripOffsets", "StripByteCounts")}
        assert len(page.dataoffsets) == 1
    bomb = zlib.compress(bytes(64 << 20), 9)
    changed = bytearray(data + bomb)
    for tag, value in (("StripOffsets", len(data)), ("StripByteCounts", len(bomb))):
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            size = {3: 2, 4: 4, 16: 8}[file.pages[0].tags[tag].dtype]
        changed[entries[tag] : entries[tag] + size] = value.to_bytes(size, "little")
    path = rewrite(write(tmp_path / "p.zip"), tmp_path / "bad.zip", **{"y.ome.tiff": bytes(changed)})
    with pytest.raises(UserError, match="a plane unpacks to more than its size"):
        read_back(path)


def test_entities_in_the_xml_are_refused(tmp_path):
    """The document type declaration comes before any entity is expanded."""
    entities = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    data = tiff(LABELS, "ZYX")
    xml = data[data.index(b"<?xml") : data.index(b"</OME>") + 6].decode()
    declared = xml.replace("<OME", entities + "<OME", 1)
    file = io.BytesIO()
    tifffile.imwrite(file, LABELS, description=declared, metadata=None, photometric="minisblack")
    path = rewrite(write(tmp_path / "p.zip"), tmp_path / "bad.zip", **{"y.ome.tiff": file.getvalue()})
    with pytest.raises(UserError, match="bad.zip"):
        read_back(path)


# ----------------------------------------------------------------------------------------------------------- .trk files


class Evil:
    def __reduce__(self):
        import os

        return os.system, ("touch evil-was-here",)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lineage_content": {"7": {"frames": [0]}}}, "the frames of cell 7 are not those of its label"),
        ({"lineage_content": {"9": None}}, "lacks cell 9"),
        ({"lineage_content": {"7": {"label": 8}}}, "cell '7': label, frames, daughters or parent"),
        ({"lineage_content": {"9": {"parent": 7}}}, "cell 9 has the parent 7, which does not list it"),
        ({"lineage_content": {"7": {"daughters": [9]}}}, "cell 7 lists 9, whose parent is another"),
        ({"lineage_content": {"7": {"frames": []}}}, "cell '7'"),
        ({"raw": np.zeros((*SHAPE, 2), np.uint16)}, "SHA-256"),
        ({"raw": np.zeros(SHAPE, np.uint16)}, "raw.npy: an array"),
        ({"tracked": np.zeros((3, 12, 17, 1), np.uint16)}, "tracked.npy: an array"),
        ({"tracked": np.array([Evil()], object)}, "tracked.npy: not a readable array"),
        ({"extra": [("../evil", b"x")]}, "does not belong into it"),
        ({"extra": [("big.bin", bytes(100))]}, "does not belong into it"),
        ({"extra": [("lineage.json", b"[{}]")]}, "of several movies"),
    ],
)
def test_bad_trks_end_in_one_line(tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    path = trk(tmp_path / "bad.trk", **options)
    with pytest.raises(UserError, match=words) as caught:
        apply(path, tmp_path)
    assert "bad.trk" in str(caught.value)
    assert not (tmp_path / "evil-was-here").exists()


def test_a_tar_header_of_any_size_is_not_taken_into_memory(tmp_path):
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 1 << 40
    path = tmp_path / "bad.trk"
    path.write_bytes(gzip.compress(header.tobuf() + bytes(4096)))
    with pytest.raises(UserError, match=r"bad\.trk: not a readable gzipped tar"):
        apply(path, tmp_path)


# ------------------------------------------------------------------------------------------------------------ the stage


def test_pickles_are_not_read():
    """Nothing here unpickles freely: numpy is told so, and the only unpickler is the one that knows a few names."""
    from pathlib import Path

    for source in (Path(__file__).parents[1] / "scripts").rglob("*.py"):
        text = source.read_text()
        assert "pickle.load" not in text
        assert "Unpickler" not in text or source.name == "safe_unpickling.py"
        assert "allow_pickle=True" not in text
        assert " eval(" not in text
        assert " exec(" not in text
    assert pickle.dumps(Evil())  # the bait above is a real one
