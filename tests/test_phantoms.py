"""A division of a region that does not prove itself is taken back; one that does, and cells of like size, stay."""

import numpy as np
import pytest
from scipy import ndimage
from test_touching import SHAPE, disk, labels_of, tracked, write_labels

import track_cells
from celltraces.storage.frames import open_frames
from celltraces.tracking import overlap

END = 8  # first frame in which the small cell is gone


def swallowed(n_frames=30, last=None, mirror=False):
    """A cell grows over the place of a small one that ends at END; with `last` the small one is there again from then
    on, apart from the other. Labels, and the large cell's mask in each frame."""
    frames, large = [], []
    for frame in range(n_frames):
        growing = disk(30, 50, 18 if frame < END else 26)
        small = disk(30, 74, 4)
        back = last is not None and frame >= last
        masks = [growing] if frame >= END and not back else [disk(30, 50, 18), small]
        large.append(masks[0])
        frames.append(labels_of(masks)[:, :: -1 if mirror else 1])
    return [ndimage.label(frame)[0].astype(np.uint16) for frame in frames], [
        mask[:, :: -1 if mirror else 1] for mask in large
    ]


def test_the_small_cell_is_divided_off_at_first():
    """Without what comes later, the two cases look the same: this is what is taken back."""
    frames, _ = swallowed(last=20)
    assert set(np.unique(tracked(frames, split_touching=True)[12])) == {0, 1, 2}


@pytest.mark.parametrize("compare", ["box", "mask"])
@pytest.mark.parametrize("mirror", [False, True])
def test_a_cell_that_ends_beside_one_that_grows_is_no_phantom(compare, mirror):
    frames, large = swallowed(mirror=mirror)
    found = tracked(frames, split_touching=True, iou=compare)
    number = found[0][30, 119 - 50 if mirror else 50]
    for frame, (cells, mask) in enumerate(zip(found, large, strict=True)):
        np.testing.assert_array_equal(cells == number, mask)
        assert len(np.unique(cells)) == (3 if frame < END else 2)


def test_a_cell_that_comes_apart_again_was_there_all_the_time():
    frames, _ = swallowed(last=29)
    for cells in tracked(frames, split_touching=True):
        assert set(np.unique(cells)) == {0, 1, 2}


def test_cells_of_like_size_stay_divided_to_the_end():
    frames = [labels_of([disk(30, 36 + min(step, 6), 10), disk(30, 66 - min(step, 6), 9)]) for step in range(20)]
    assert frames[-1].max() == 1
    assert set(np.unique(tracked(frames, split_touching=True)[-1])) == {0, 1, 2}


def test_only_the_phantom_of_several_is_taken_back():
    """Two cells of like size touch to the end; beside one of them a small one ends."""
    frames = []
    for frame in range(30):
        gap = max(0, 9 - frame)
        pair = [disk(30, 30 - gap, 16), disk(30, 58, 16 if frame < END else 24)]
        frames.append(labels_of(pair + [disk(30, 80, 4)] * (frame < END)))
    assert frames[-1].max() == 1
    found = tracked(frames, split_touching=True)
    right = found[END][30, 58]
    for cells, labels in zip(found[END:], frames[END:], strict=True):
        assert len(np.unique(cells)) == 3
        assert cells[30, 80] == right
        np.testing.assert_array_equal(cells > 0, labels > 0)


def test_numbers_of_all_others_stay():
    """Frames without a phantom get the very numbers that they got before the division was taken back."""
    frames, _ = swallowed()
    other = disk(52, 100, 5)
    frames = [np.where(other, frame.max() + 1, frame).astype(np.uint16) for frame in frames]
    found = tracked(frames, split_touching=True)
    assert [int(cells[52, 100]) for cells in found] == [3] * len(frames)
    assert {int(cells.max()) for cells in found} == {3}


def test_the_stage_writes_the_cell_as_one_and_says_so(tmp_path, caplog):
    frames, large = swallowed()
    source = write_labels(tmp_path, frames)
    with caplog.at_level("INFO", "celltraces"):
        track_cells.track_movie(
            source, tmp_path / "tracked/0", lambda images: overlap.track(images, split_touching=True)
        )
    assert f"end in frame: {{2: {END}}}" in caplog.text
    written = open_frames(tmp_path / "tracked/0")
    assert written.shape[1:] == SHAPE
    np.testing.assert_array_equal(written.read(29) == 1, large[29])
