"""Digests of FOVs for the report: numbers, the thumbnail, film strips."""

import json

import numpy as np
import pytest
from report_tools import picture
from skimage.segmentation import find_boundaries

import crop_cells
import digest_fov
from celltraces import paths
from celltraces.features.cell_list import KINDS
from celltraces.labels import left_out, lineage
from celltraces.report import digest, fov_digest
from celltraces.report.fov_digest import NOT_THERE
from celltraces.storage.codecs import LABELS, PIXELS, SMOOTH
from celltraces.storage.frames import open_frames, writing


def write_array(path, frames, kind=PIXELS, missing=()):
    with writing(path, frames.shape, frames.dtype, kind, attributes={"missing_frames": list(missing)}) as append:
        for frame in frames:
            append(frame)
    return open_frames(path)


@pytest.fixture
def two_cells(tmp_path):
    """A FOV with two cells that move, light above a background, a frame without light; its digest and its arrays."""
    rng = np.random.default_rng(0)
    labels = np.zeros((6, 80, 100), np.uint16)
    for frame in range(6):
        labels[frame, 20:40, 20 + frame : 50 + frame] = 3
        labels[frame, 50:62, 60:72] = 9 if frame > 1 else 0
    pc = rng.integers(900, 1100, labels.shape).astype(np.uint16)
    background = np.full(labels.shape, 100, np.float32)
    fl = (100 + 50 * (labels == 3) + 400 * (labels == 9)).astype(np.uint16)
    arrays = {
        "pc_ch_0": write_array(tmp_path / "pc_ch_0/0", pc),
        "fl_ch_1": write_array(tmp_path / "fl_ch_1/0", fl, missing=[5]),
        "fl_background_ch_1": write_array(tmp_path / "fl_background_ch_1/0", background, SMOOTH),
    }
    tracked = write_array(tmp_path / "seg_tracked_ch_0/0", labels, LABELS)
    crop_cells.write_cells(tracked, list(arrays.values()), tmp_path / "cells.zarr", crop_padding=5)
    rows = [f"0,3,{frame},True,{50 * 600}" for frame in range(6)]
    (tmp_path / f"d_fov_000{paths.TRACES}").write_text("\n".join(["fov,cell,frame,good,total", *rows]) + "\n")
    rejected = np.zeros(labels.shape[1:], np.uint8)
    rejected[4:16, 60:90], rejected[66:76, 4:20] = left_out.TOO_LARGE, left_out.TOO_SMALL
    with writing(
        tmp_path / "seg_labeled_ch_0/0",
        labels.shape,
        labels.dtype,
        LABELS,
        attributes={
            left_out.ATTRIBUTE: left_out.counts_by_frame([left_out.count(frame, rejected) for frame in labels]),
            left_out.SHOWN: left_out.to_show(3, rejected),
        },
    ) as append:
        for frame in labels:
            append(frame)
    lineage.write_lineage(tmp_path / "lineage.csv", 0, {3: (0, 5), 9: (2, 5)}, [])
    return digest_of_two_cells(tmp_path), labels


def digest_of_two_cells(folder, decisions=(), pixel_size_um=None):
    return fov_digest.make_digest(
        folder / "cells.zarr",
        folder / f"d_fov_000{paths.TRACES}",
        folder / "pc_ch_0/0",
        folder / "seg_tracked_ch_0/0",
        folder / "seg_labeled_ch_0/0",
        folder / "lineage.csv",
        list(decisions),
        pixel_size_um=pixel_size_um,
        pc=0,
        fl=[1],
        column="total",
        min_frames=5,
        border_margin=2,
        thumbnail_width=100,
        cells_per_fov=5,
        crop_frames=3,
        crop_width=40,
    )


def test_a_digest_counts_what_the_filters_leave_out(two_cells):
    known = json.loads(two_cells[0][digest.DIGEST])
    assert {key: known[key] for key in ("tracked", "kept", *KINDS, "taken_in")} == {
        **dict.fromkeys(("border", "both", "refused", "taken_in"), 0),
        "tracked": 2,
        "kept": 1,
        "short": 1,
    }
    assert known["tracked_by_frame"] == [1, 1, 2, 2, 2, 2]
    assert known["kept_by_frame"] == [1] * 6
    assert [of_cell["cell"] for of_cell in known["cells"]] == [3]
    assert known["cells"][0]["frames"] == [0, 2, 5]
    for name, size in [("thumbnail.webp", known["bytes"]), ("cell_3.webp", known["cells"][0]["bytes"])]:
        assert len(two_cells[0][name]) == size


def test_a_digest_follows_what_a_person_decided(two_cells, tmp_path):
    """Cell 3, which the filters keep, is refused; cell 9, which is in too few frames, is taken in."""
    decisions, taken_in = (tmp_path / f"d_fov_000{end}" for end in (paths.DECISIONS, paths.TAKEN_IN))
    columns = "source,cell,frame,good,status,cell_now,frames"
    decisions.write_text(f"{columns}\nedits,3,3,False,applied,3,\nedits,9,3,True,applied,9,\n")
    rows = [f"0,9,{frame},True,{144 * 400}" for frame in range(2, 6)]
    taken_in.write_text("\n".join(["fov,cell,frame,good,total", *rows]) + "\n")
    files = digest_of_two_cells(tmp_path, map(str, (decisions, taken_in)))
    known = json.loads(files[digest.DIGEST])
    assert {key: known[key] for key in ("tracked", "kept", *KINDS, "taken_in")} == {
        **dict.fromkeys(("short", "border", "both"), 0),
        **{"tracked": 2, "kept": 1, "refused": 1, "taken_in": 1},
    }
    assert known["kept_by_frame"] == [0, 0, 1, 1, 1, 1]
    assert [of_cell["cell"] for of_cell in known["cells"]] == [9]
    assert "cell_3.webp" not in files
    _, labels = two_cells
    shown = picture(files[digest.THUMBNAIL]).astype(int)
    colour = shown[..., 0] - shown[..., 2]
    border = find_boundaries(labels[3], connectivity=1, mode="inner")
    assert colour[border & (labels[3] == 9)].mean() > 100
    assert abs(colour[border & (labels[3] == 3)]).mean() < 30


def test_a_film_strip_has_a_scale_bar_and_outlines_on_light(two_cells, tmp_path):
    files = digest_of_two_cells(tmp_path, pixel_size_um=0.5)
    (cell,) = json.loads(files[digest.DIGEST])["cells"]
    # The crop is 30 x 40 px, as wide as 40 px of the strip: a bar near a sixth of 2 x 20 um is 5 um, 10 px.
    assert cell["bar"] == "5 µm"
    with_bar, without = (picture(of[f"cell_{cell['cell']}.webp"]).astype(int) for of in (files, two_cells[0]))
    changed = np.abs(with_bar - without).max(axis=2) > 60
    rows, columns = np.nonzero(changed)
    assert rows.max() < 40
    assert columns.max() < 40  # in the first picture alone
    assert 8 <= np.ptp(columns) <= 14
    ring = without[40:, :40, 0] - without[40:, :40, 2]  # of the light, the first frame
    assert ring[9:12].max(axis=0)[8:32].mean() > 30


def test_outlines_lie_on_the_cells(two_cells):
    files, labels = two_cells
    frame = json.loads(files[digest.DIGEST])["frame"]
    assert frame == 3
    shown = picture(files[digest.THUMBNAIL]).astype(int)
    assert shown.shape == (80, 100, 3)
    colour = shown[..., 0] - shown[..., 2]  # of the outlines of kept cells; the rest is grey
    border = find_boundaries(labels[frame], connectivity=1, mode="inner")
    assert colour[border & (labels[frame] == 3)].mean() > 100
    assert abs(colour[border & (labels[frame] == 9)]).mean() < 30
    assert abs(colour[labels[frame] == 0]).mean() < 15


def test_what_was_left_out_is_counted_and_outlined(two_cells):
    files, _ = two_cells
    known = json.loads(files[digest.DIGEST])
    assert known["left_out"]["too_large"] == 6 * 12 * 30
    assert (known["left_out"]["too_large_regions"], known["left_out"]["too_small_regions"]) == (6, 6)
    image = picture(files[digest.THUMBNAIL]).astype(int)
    blue = image[..., 2] - image[..., 0] > 60
    shown = np.zeros(image.shape[:2], bool)
    shown[4:16, 60:90] = True
    assert blue[find_boundaries(shown, mode="inner")].mean() > 0.5
    assert blue[~shown].mean() < 0.02
    assert image[66, 6:18].min() > 170  # white: too small


def test_a_film_strip_shows_channels_and_frames(two_cells):
    shown = picture(two_cells[0]["cell_3.webp"]).astype(int)
    assert shown.shape == (2 * 40, 3 * 40, 3)
    light = shown[40:].mean(axis=2)
    # The window is 30 x 40 px: the light is the cell, 20 x 30, in the middle, white above a black background.
    for at in range(2):
        tile = light[:, 40 * at : 40 * (at + 1)]
        assert tile[12:28, 7:33].mean() > 230
        assert tile[:9].mean() < 20
    assert abs(light[:, 80:] - NOT_THERE).max() < 8  # the file has no light in frame 5
    ring = shown[:40, :40, 0] - shown[:40, :40, 2]
    assert ring[9:12].max(axis=0)[8:32].mean() > 60  # the outline's upper edge; WebP has less of colours
    assert abs(ring[:5]).mean() < 15


def test_a_fov_of_which_nothing_can_be_read_is_no_failure(tmp_path, caplog):
    nothing = {name: tmp_path / name for name in ("cells", "traces", "pc_frames", "tracked", "labeled")}
    digest_fov.main(str(tmp_path / "d.zip"), **nothing)
    known = digest.read_digest(tmp_path / "d.zip")
    assert set(known) == {"problem"}
    assert "the report will not show this FOV" in caplog.text
