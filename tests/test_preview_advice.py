"""The preview says what to write where the size of the cells and a limit of `logstd` contradict each other."""

from contextlib import nullcontext

import numpy as np
import pytest

import preview_compare
from celltraces.labels import left_out
from celltraces.preview.advice import on_size_limit
from celltraces.preview.sets import KEYS
from celltraces.storage import cells
from celltraces.storage.codecs import LABELS

PRESENT = dict(zip(KEYS, ("logstd", 3, 7, 3, 50, 10000), strict=True))


def disks(width):
    """Three cells, and debris that is a tenth as wide."""
    y, x = np.mgrid[: 2 * width, : 8 * width]
    labels = np.zeros(y.shape, np.uint16)
    for number, centre in enumerate((1, 3, 5), start=1):
        labels[np.hypot(y - width, x - centre * width) < width / 2] = number
    for number in range(4, 14):
        labels[np.hypot(y - width // 2, x - (7 + (number - 8) / 10) * width) < width / 20] = number
    return labels


@pytest.mark.parametrize(
    ("width", "limit", "written"),
    [
        (27, 10000, None),
        (76, 10000, None),
        (84, 10000, 17000),
        (160, 10000, 61000),
        (160, 61000, None),
        (27, 700, 2000),
    ],
)
def test_the_limit_is_named_where_two_cells_are_larger(width, limit, written):
    """The area of a disk 160 px wide is 20,106 px: three are 60,319."""
    said = on_size_limit({**PRESENT, "max_object_size": limit}, [disks(width)])
    if written is None:
        assert said is None
    else:
        assert f"write params: {{max_object_size: {written}}}" in said
        assert f"about {width} px wide" in said
        assert "\n" not in said


def test_nothing_is_said_of_other_methods_or_without_cells():
    assert on_size_limit({**PRESENT, "segmentation_method": "deepsea"}, [disks(160)]) is None
    assert on_size_limit(PRESENT, [np.zeros((50, 50), np.uint16)]) is None
    assert on_size_limit(PRESENT, []) is None


@pytest.mark.parametrize(("method", "told"), [("deepsea", True), ("pyama", False)])
def test_the_end_of_the_preview_says_it(tmp_path, monkeypatch, caplog, method, told):
    labels = disks(160)
    for name in ("logstd", method):
        with cells.new_store(tmp_path / f"{name}.zip") as put:
            cells.put_array(put, "0/3", labels, LABELS)
            attributes = {"frames": [(0, 3)], "uncovered": [[]], left_out.ATTRIBUTE: [], "failed": None}
            cells.put_group(put, "", attributes)
    monkeypatch.setattr(preview_compare, "open_movie", lambda *_: nullcontext())
    monkeypatch.setattr(preview_compare, "read_frame", lambda *_: (100 + labels).astype(np.uint16))
    outputs = [str(tmp_path / name) for name in ("p.png", "s.csv", "f.csv", "c.csv")]
    preview_compare.main(
        str(tmp_path / "logstd.zip"),
        [str(tmp_path / f"{name}.zip") for name in ("logstd", method)],
        *outputs,
        name="monday",
        sets=[PRESENT, {**PRESENT, "segmentation_method": method}],
        frames=[(0, 3)],
        times_min=[0.0],
        channel=0,
        planes=[None],
        border_margin=0,
    )
    lines = [line for line in caplog.text.splitlines() if "max_object_size: 61000" in line]
    assert len(lines) == told
    assert all("monday: max_object_size: cells are about 160 px wide" in line for line in lines)
