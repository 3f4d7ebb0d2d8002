"""What segmentation leaves out because of its size is counted, reported and drawn; nothing else is."""

import cv2
import numpy as np
import pytest
from conftest import real_file
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

import segment_cells
from celltraces.errors import UserError
from celltraces.labels import left_out
from celltraces.labels.left_out import TOO_LARGE, TOO_NARROW, TOO_SMALL
from celltraces.pictures import draw
from celltraces.preview import comparison
from celltraces.preview.comparison import compare_labels
from celltraces.preview.picture import draw_detail, draw_whole
from celltraces.results.quality import check_left_out
from celltraces.segmentation import logstd, mask_objects
from celltraces.segmentation.methods import segmenter
from celltraces.storage.codecs import PIXELS
from celltraces.storage.frames import open_frames, writing

SETTINGS = {"logstd_window_size": 3, "morph_size": 7, "morph_iterations": 3}


def textured(*disks, shape=(300, 400), noise=8, seed=0):
    """A flat frame with camera noise and disks (y, x, radius) of strong texture."""
    rng = np.random.default_rng(seed)
    image = 3000 + noise * rng.standard_normal(shape)
    y, x = np.mgrid[: shape[0], : shape[1]]
    for at_y, at_x, radius in disks:
        mask = (y - at_y) ** 2 + (x - at_x) ** 2 <= radius**2
        image[mask] += 300 * rng.standard_normal(mask.sum())
    return image.astype(np.uint16)


def movie_of(tmp_path, images, missing=()):
    path = tmp_path / "pc_ch_0/0"
    attributes = {"missing_frames": list(missing)}
    with writing(path, (len(images), *images[0].shape), np.uint16, PIXELS, attributes=attributes) as append:
        for image in images:
            append(image)
    return path


def segmented(tmp_path, images, segment, missing=()):
    segment_cells.segment_movie(movie_of(tmp_path, images, missing), tmp_path / "labeled/0", segment)
    return open_frames(tmp_path / "labeled/0")


CELLS = [(60, 60, 14), (60, 150, 14), (200, 60, 14)]


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.uint8, (14, 17), elements=st.integers(0, 1)),
    st.integers(0, 12),
    st.integers(0, 30),
)
def test_each_object_is_a_cell_or_marked_with_why_not(mask, low, more):
    rejected = np.zeros(mask.shape, np.uint8)
    labels = mask_objects.label_objects(mask, low, low + more, rejected)
    found, n = ndimage.label(mask)
    for region in range(1, n + 1):
        area = (found == region).sum()
        code = TOO_SMALL if area < low else TOO_LARGE if area > low + more else 0
        assert set(rejected[found == region]) == {code}
        assert (labels[found == region] > 0).all() == (code == 0)
    assert not rejected[mask == 0].any()
    counted = left_out.count(labels, rejected)
    assert counted["foreground"] == mask.sum()
    for code, reason in left_out.REASONS.items():
        assert counted[reason] == (rejected == code).sum()
        assert counted[f"{reason}_regions"] == ndimage.label(rejected == code)[1]


@pytest.mark.parametrize(("low", "high", "code"), [(50, 400, TOO_LARGE), (2500, 10000, TOO_SMALL)])
def test_cells_of_a_frame_that_are_left_out_are_marked(low, high, code):
    image = textured(*CELLS)
    # What is too small is marked before outlines are drawn in.
    outline = "halo" if code == TOO_SMALL else "cell"
    everything = logstd.segment_frame(image, logstd_outline=outline, **SETTINGS) > 0
    assert ndimage.label(everything)[1] == 3
    rejected = np.zeros(image.shape, np.uint8)
    labels = logstd.segment_frame(image, min_object_size=low, max_object_size=high, rejected=rejected, **SETTINGS)
    assert labels.max() == 0
    assert set(np.unique(rejected)) == {0, code}
    marked = rejected > 0
    assert (marked & everything).sum() > 0.9 * max(marked.sum(), everything.sum())  # small ones are not yet opened


@pytest.mark.parametrize("window", [3, 5])
def test_noise_and_specks_are_not_told_as_cells(window):
    image = textured()
    image[::40, ::40] = 60000  # hot pixels
    rejected = np.zeros(image.shape, np.uint8)
    logstd.segment_frame(image, logstd_window_size=window, rejected=rejected)
    assert not rejected.any()


def test_marking_changes_no_label():
    image = textured(*CELLS, (200, 250, 70))
    rejected = np.zeros(image.shape, np.uint8)
    np.testing.assert_array_equal(logstd.segment_frame(image), logstd.segment_frame(image, rejected=rejected))
    assert set(np.unique(rejected)) == {0, TOO_LARGE}


def test_the_stage_records_every_frame(tmp_path, caplog):
    with_clump = textured(*CELLS, (200, 250, 70))
    clean = textured(*CELLS)
    images = [clean, with_clump, with_clump, np.zeros_like(clean), textured(), clean, clean]
    segment = segmenter("logstd", SETTINGS | {"min_object_size": 50, "max_object_size": 10000})
    labeled = segmented(tmp_path, images, segment, missing=[3, 6])
    told = labeled.attributes[left_out.ATTRIBUTE]
    assert told["too_large_regions"] == [0, 1, 1, 0, 0, 0, 0]
    assert told["too_small_regions"] == [0] * 7
    assert told["too_large"][1] == pytest.approx(np.pi * 70**2, rel=0.1)
    for frame in range(7):
        assert told["foreground"][frame] - told["too_large"][frame] == (labeled.read(frame) > 0).sum()
    shown = labeled.attributes[left_out.SHOWN]
    assert shown["frame"] == 2  # the middle one of those that are there
    drawn = left_out.drawable(shown, with_clump.shape)
    assert (drawn == TOO_LARGE).sum() == told["too_large"][2]
    assert drawn[200, 250] == TOO_LARGE
    rows = list(check_left_out(4, labeled, qc_dropped=0.2))
    assert [(row.fov, row.frame, row.check) for row in rows] == [(4, 1, "dropped_area"), (4, 2, "dropped_area")]
    assert rows[0].value == pytest.approx(told["too_large"][1] / told["foreground"][1])
    assert "; regions: 2 too large (max_object_size)" in left_out.in_words(told)


def test_sound_frames_are_no_finding(tmp_path):
    segment = segmenter("logstd", SETTINGS | {"min_object_size": 50, "max_object_size": 10000})
    labeled = segmented(tmp_path, [textured(*CELLS), textured()], segment)
    assert list(check_left_out(0, labeled, qc_dropped=0.2)) == []
    assert left_out.in_words(labeled.attributes[left_out.ATTRIBUTE]) == "nothing"


def shares(foreground, gone, limit=0.2):
    nothing = [0] * len(gone)
    of_frames = {"foreground": foreground, "too_large": gone, "too_small": nothing, "too_narrow": nothing}
    return left_out.large_shares(of_frames, limit)


def test_a_whole_fov_is_one_row():
    assert shares([100] * 10, [90] * 6 + [0] * 4) == [(None, pytest.approx(0.54))]
    assert [frame for frame, _ in shares([100] * 10, [90] * 5 + [0] * 5)] == [0, 1, 2, 3, 4]
    assert shares([100] * 4, [20] * 4) == []
    assert shares([0, 0], [0, 0]) == shares([], []) == []


def test_specks_in_an_empty_frame_are_no_finding():
    assert shares([1000, 1000, 30, 1000], [0, 0, 30, 0]) == []


@pytest.mark.parametrize("method", ["pyama", "mine"])
def test_a_method_that_does_not_tell_has_no_finding(tmp_path, method):
    if method == "mine":
        (tmp_path / "mine.py").write_text("def segment(image):\n    return (image > 3300).astype(int)\n")
        method = f"{tmp_path}/mine.py:segment"
    labeled = segmented(tmp_path, [textured(*CELLS)] * 2, segmenter(method, {}))
    told = labeled.attributes[left_out.ATTRIBUTE]
    assert told["too_large"] == [None, None]
    assert left_out.counts_in_all(told) is None
    assert left_out.SHOWN not in labeled.attributes
    assert list(check_left_out(0, labeled, qc_dropped=0.2)) == []


def test_a_method_of_the_user_can_tell(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n\n\ndef segment(image):\n"
        "    rejected = np.zeros(image.shape, int)\n    rejected[10:30, 10:30] = 2\n"
        "    return np.zeros(image.shape, int), rejected\n"
    )
    segment = segmenter(f"{tmp_path}/mine.py:segment", {})
    labeled = segmented(tmp_path, [textured()] * 3, segment)
    assert labeled.attributes[left_out.ATTRIBUTE]["too_large"] == [400] * 3
    assert [row.frame for row in check_left_out(0, labeled, qc_dropped=0.2)] == [None]


@pytest.mark.parametrize("rejected", ["np.zeros((3, 3), int)", "np.full(image.shape, 7)", "np.zeros(image.shape)"])
def test_what_a_method_says_it_left_out_is_checked(tmp_path, rejected):
    (tmp_path / "mine.py").write_text(
        f"import numpy as np\n\n\ndef segment(image):\n    return np.zeros(image.shape, int), {rejected}\n"
    )
    segment = segmenter(f"{tmp_path}/mine.py:segment", {})
    with pytest.raises(UserError, match="segmentation_method: frame 0: what was left out must have shape"):
        segmented(tmp_path, [textured()], segment)


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 3)))
def test_what_is_shown_comes_back(rejected):
    shown = left_out.to_show(5, rejected)
    assert shown["frame"] == 5
    np.testing.assert_array_equal(left_out.drawable(shown, rejected.shape), rejected)


def test_the_preview_draws_what_was_left_out_and_counts_it():
    labels, rejected = np.zeros((100, 100), np.uint16), np.zeros((100, 100), np.uint8)
    labels[10:20, 10:20], rejected[40:80, 40:90], rejected[85:95, 5:15] = 1, TOO_LARGE, TOO_SMALL
    grey = np.full((100, 100), 128, np.uint8)
    found = compare_labels(labels, labels, rejected)
    whole = draw_whole(grey, labels, (0, 0, 30), rejected)
    square = draw_detail(grey, labels, labels, found, (0, 0, 100), rejected)
    for picture in (whole, square):
        large = (picture == left_out.COLOURS[TOO_LARGE]).all(axis=-1)
        shown = draw.resize_labels(rejected, picture.shape[:2])
        assert large.any()
        assert (shown[large] == TOO_LARGE).all()
    numbers = comparison.summarise([found, found])
    assert (numbers["too_large"], numbers["too_small"]) == (2, 2)
    assert numbers["left_out_percent"] == pytest.approx(100 * 2100 / 2200)
    plain = draw_detail(grey, labels, labels, found, (0, 0, 100))
    assert not (plain == left_out.COLOURS[TOO_LARGE]).all(axis=-1).any()


def test_cells_of_which_the_opening_leaves_nothing_are_told():
    """Cells 13 px wide are narrower than the 19 px of the default's opening; with one iteration all are found."""
    narrow = [(40 + 60 * row, 40 + 60 * column, 6) for row in range(4) for column in range(6)]
    image = textured(*narrow)
    rejected = np.zeros(image.shape, np.uint8)
    labels = logstd.segment_frame(image, rejected=rejected)
    assert (labels.max(), set(np.unique(rejected))) == (0, {0, TOO_NARROW})
    assert left_out.count(labels, rejected)["too_narrow_regions"] == len(narrow)
    for y, x, _ in narrow:
        assert rejected[y, x] == TOO_NARROW
    rejected[:] = 0
    assert logstd.segment_frame(image, morph_iterations=1, rejected=rejected).max() == len(narrow)
    assert not rejected.any()


@pytest.mark.parametrize("number", ["01", "07"])
def test_dense_real_cells_are_told(tmp_path, number):
    """Of T98G cells, marked by hand, outlines outside of the halos leave a tenth, since they make cells run together
    to regions above `max_object_size`; with outlines on the cells, the regions are divided."""
    import tifffile

    image = tifffile.imread(real_file(f"t98g/{number}_phase.tif"))
    cells = cv2.imread(str(real_file(f"t98g/{number}_cells.png")), cv2.IMREAD_UNCHANGED)
    limits = {"min_object_size": 50, "max_object_size": 10000}
    labels, rejected = segmenter("logstd", SETTINGS | limits)(image)
    assert np.count_nonzero(labels[cells > 0]) > 3 * np.count_nonzero(rejected[cells > 0])
    segment = segmenter("logstd", SETTINGS | limits | {"logstd_outline": "halo"})
    labels, rejected = segment(image)
    kept, gone = (np.count_nonzero(mask[cells > 0]) for mask in (labels, rejected))
    assert gone > 3 * kept
    labeled = segmented(tmp_path, [image], segment)
    (row,) = check_left_out(0, labeled, qc_dropped=0.2)
    assert row.value > 0.6
