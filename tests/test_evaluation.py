"""What `make evaluate` measures: known scores of known masks, sets with their truth, and folders that are mistaken."""

import importlib.util

import cv2
import evaluate
import numpy as np
import pytest
import tifffile
from evaluation import movies, trackers
from evaluation.movies import Movie
from evaluation.overlaps import light, score
from scipy.stats import norm

from celltraces.errors import UserError
from celltraces.labels.lineage import Division

SIDE = 20  # px, of the square cells
needs_ctcmetrics = pytest.mark.skipif(
    importlib.util.find_spec("ctc_metrics") is None, reason="py-ctcmetrics comes with make evaluate"
)


def squares(shift=0, size=SIDE, n_frames=4):
    """Nine squares that stand still, moved to the right by `shift`. T images (H, W)."""
    labels = np.zeros((150, 150), np.uint16)
    for cell in range(9):
        y, x = 10 + 45 * (cell // 3), 10 + 45 * (cell % 3) + shift
        labels[y : y + size, x : x + size] = cell + 1
    return [labels] * n_frames


@pytest.mark.parametrize("shift", [0, 2, 5])
def test_shifted_masks_have_the_overlap_that_geometry_gives(shift):
    truth, found = squares()[0], squares(shift)[0]
    of = score(found, truth)
    np.testing.assert_allclose(of.jaccard, (SIDE - shift) / (SIDE + shift))
    assert (of.right, of.found, of.together, of.missed) == (9, 9, 0, 0)
    np.testing.assert_array_equal(of.area, 1)
    mean, total = light(found, truth, of)
    across = light_between(shift - 2, SIDE + shift + 2) / SIDE
    np.testing.assert_allclose(mean, light_between(shift, SIDE + shift) / light_between(0, SIDE), atol=0.005)
    np.testing.assert_allclose(total, across * light_between(-2, SIDE + 2) / SIDE, atol=0.005)


def light_between(start, end):
    """Of a strip from 0 to SIDE that shines evenly, its light spread by a normal distribution 1 px wide."""

    def below(x):
        return x * norm.cdf(x) + norm.pdf(x)

    return below(end) - below(start) - below(end - SIDE) + below(start - SIDE)


def test_missed_cells_cells_in_one_and_outlines_too_wide():
    truth = squares()[0]
    found = np.where(truth == 1, 0, truth)  # one is missed, and two are one
    found[found == 3] = 2
    of = score(found, truth)
    assert (of.missed, of.together, of.found, of.right) == (1, 2, 7, 6)
    np.testing.assert_allclose(of.jaccard, [0, 0.5, 0.5, *[1] * 6])
    wide = cv2.dilate(truth, np.ones((5, 5), np.uint8))
    of = score(wide, truth)
    np.testing.assert_allclose(of.area, (SIDE + 4) ** 2 / SIDE**2)
    mean, total = light(wide, truth, of)
    np.testing.assert_allclose(mean, SIDE**2 / (SIDE + 4) ** 2, rtol=0.1)
    np.testing.assert_allclose(total, 1, atol=0.005)


@needs_ctcmetrics
@pytest.mark.parametrize("shift", [0, 5])
def test_a_tiny_movie_is_evaluated(shift):
    images = [labels * 100 for labels in squares()]
    movie = Movie("squares", squares(), images, [])
    methods = {"as it is": lambda: lambda image: np.roll(image // 100, shift, axis=1).astype(np.int64)}
    (row,) = evaluate.segmentation_rows(movie, methods)
    assert row["SEG"] == pytest.approx((SIDE - shift) / (SIDE + shift))
    assert (row["DET"], row["TRA"], row["LNK"], row["F1"], row["cells"]) == (1, 1, 1, 1, 36)
    (row,) = evaluate.segmentation_rows(Movie("pictures", squares(), images), methods)
    assert row["SEG"] == pytest.approx((SIDE - shift) / (SIDE + shift))
    assert (row["DET"], "TRA" in row) == (1, False)


@needs_ctcmetrics
def test_a_method_that_finds_nothing_is_worth_nothing():
    methods = {"nothing": lambda: lambda image: np.zeros(image.shape, np.int64)}
    for divisions in (None, []):
        (row,) = evaluate.segmentation_rows(Movie("squares", squares(), squares(), divisions), methods)
        assert {row[name] for name in ("SEG", "DET", "F1", *(["TRA", "LNK"] if divisions == [] else []))} == {0}
        assert "area" not in row


def all_links_but_one(labels, movement, dividing):
    """All links but one: a cell has another number in the last frame."""
    numbers = squares(n_frames=len(labels))
    numbers[-1] = np.where(numbers[-1] == 9, 10, numbers[-1])
    return numbers, [], 0.0


@needs_ctcmetrics
def test_a_broken_link_costs_one_link():
    movie = Movie("squares", squares(), None, [])
    ours, broken = evaluate.tracking_rows(movie, {"iou": trackers.by_overlap, "broken": all_links_but_one})
    assert (ours["DET"], ours["TRA"], ours["LNK"]) == (1, 1, 1)
    assert broken["LNK"] == pytest.approx(26 / 27)  # 9 cells, 3 links each
    assert broken["DET"] == 1


@needs_ctcmetrics
def test_divisions_are_counted():
    cells = squares(n_frames=6)
    cells = cells[:3] + [np.where(labels == 1, 0, labels) for labels in cells[3:]]
    for labels in cells[3:]:
        labels[10:30, 10:19], labels[10:30, 21:30] = 11, 12
    movie = Movie("division", cells, None, [Division(1, (11, 12), 3)])
    right = lambda labels, movement, dividing: (cells, movie.divisions, 0.0)  # noqa: E731
    blind = lambda labels, movement, dividing: (cells, [], 0.0)  # noqa: E731
    found, missed = evaluate.tracking_rows(movie, {"right": right, "blind": blind})
    assert (found["division recall"], found["division precision"], found["TRA"]) == (1, 1, 1)
    assert missed["division recall"] == 0
    assert "division precision" not in missed


def test_simulated_sets_hold_their_truth():
    jumping = movies._seen("jump", 60, {9: (30, 0)})
    (moved,) = (jumping.movement["y"][9],)
    assert abs(moved - 30) < 2
    inside = [(labels > 0)[:-30] for labels in jumping.cells[8:10]]
    assert (inside[0] & (jumping.cells[9] > 0)[30:]).sum() > 0.8 * inside[0].sum()


def test_numbers_tell_trackers_nothing():
    labels = squares()[0]
    other = evaluate.shuffled(labels, 3)
    assert sorted(set(zip(labels.ravel().tolist(), other.ravel().tolist(), strict=True)))[0] == (0, 0)
    assert len(set(zip(labels.ravel().tolist(), other.ravel().tolist(), strict=True))) == 10
    assert (other != labels).any()


@pytest.fixture
def challenge(tmp_path):
    """A folder in the layout of the Cell Tracking Challenge: 4 frames, outlines of 2."""
    for frame, labels in enumerate(squares()):
        for name in (f"01/t{frame:03d}", f"01_GT/TRA/man_track{frame:03d}", f"01_GT/SEG/man_seg{frame:03d}"):
            path = tmp_path / "set" / f"{name}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            if "SEG" not in name or frame % 2:
                tifffile.imwrite(path, (labels * (20 if "/t" in name else 1)).astype(np.uint8 if frame else np.uint16))
    (tmp_path / "set/01_GT/TRA/man_track.txt").write_text("".join(f"{cell} 0 3 0\n" for cell in range(1, 10)))
    return tmp_path / "set"


def test_a_folder_of_the_challenge_is_read(challenge):
    (movie,) = movies.of_challenge(challenge)
    assert (movie.name, len(movie.images), sorted(movie.outlines)) == ("set/01", 4, [1, 3])
    assert {image.dtype for image in movie.images} == {np.dtype(np.uint16)}
    np.testing.assert_array_equal(movie.cells[2], squares()[0])


@needs_ctcmetrics
def test_a_folder_of_the_challenge_is_evaluated(challenge, capsys):
    (movie,) = movies.of_challenge(challenge)
    methods = {"as it is": lambda: lambda image: np.roll(image // 20, 5, axis=1).astype(np.int64)}
    rows = [*evaluate.segmentation_rows(movie, methods), *evaluate.tracking_rows(movie, {"iou": trackers.by_overlap})]
    assert rows[0]["SEG"] == pytest.approx((SIDE - 5) / (SIDE + 5))
    assert [row["LNK"] for row in rows] == [1, 1]
    evaluate.write(rows, challenge / "out")
    evaluate.write(rows, challenge / "out")  # takes the place of the first
    page = (challenge / "out/evaluation.md").read_text()
    assert page.count("| set/01 | as it is | 4 | 18 | 0.600 |") == page.count(evaluate.BEGIN) == 1
    assert (challenge / "out/evaluation.png").stat().st_size > 1000


@pytest.mark.parametrize("broken", ["none", "track file", "frame", "shape"])
def test_a_folder_that_is_not_in_that_layout_is_refused_in_one_line(challenge, broken):
    path = challenge
    if broken == "none":
        path = challenge / "01"
    elif broken == "track file":
        (challenge / "01_GT/TRA/man_track.txt").unlink()
    elif broken == "frame":
        (challenge / "01/t003.tif").unlink()
    else:
        tifffile.imwrite(challenge / "01/t003.tif", np.zeros((2, 5, 5), np.uint16))
    with pytest.raises(UserError) as refused:
        movies.of_challenge(path)
    assert "\n" not in str(refused.value)
