"""What `make evaluate` measures: known scores of known masks, sets with their truth, and folders that are mistaken."""

import csv
import importlib.util
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import evaluate
import numpy as np
import pytest
import tifffile
from evaluation import flat_cells, movies, phase_contrast, phase_objects, real_outlines, trackers
from evaluation.label_movies import Settings, TrueDivision
from evaluation.movies import Movie
from evaluation.overlaps import light, score
from scipy.stats import norm

from celltraces.errors import UserError
from celltraces.labels.lineage import Division
from demo.simulate import CAMERA_OFFSET, COUNTS_PER_ELECTRON, DARKER, GRANULES, HALO, PHASE_LEVEL, READ_NOISE

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


def test_light_that_is_not_spread_evenly_is_that_of_each_cell():
    """All light of a cell leaves its middle, and one shines ten times as brightly as the others."""
    truth = squares()[0]
    left = np.zeros(truth.shape)
    for cell in range(9):
        y, x = 10 + 45 * (cell // 3), 10 + 45 * (cell % 3)
        left[y + 9 : y + 11, x + 9 : x + 11] = 1000 if cell == 4 else 100
    wide = cv2.dilate(truth, np.ones((5, 5), np.uint8))
    mean, total = light(wide, truth, score(wide, truth), left)
    np.testing.assert_allclose(mean, SIDE**2 / (SIDE + 4) ** 2, rtol=1e-3)  # the same light on more pixels
    np.testing.assert_allclose(total, 1, rtol=1e-3)
    half = np.where(np.arange(150) % 45 < 20, truth, 0)  # columns 10 to 19 of each cell's 10 to 29
    mean, total = light(half, truth, score(truth, truth), left)
    np.testing.assert_allclose(mean, 1, rtol=1e-3)  # half of the light on half of the pixels
    np.testing.assert_allclose(total, norm.cdf([2.5, 1.5]).mean(), atol=0.02)  # and 2 px more


@needs_ctcmetrics
@pytest.mark.parametrize("shift", [0, 5])
def test_a_tiny_movie_is_evaluated(shift):
    images = [labels * 100 for labels in squares()]
    movie = Movie(squares(), images, [])
    methods = {"as it is": lambda: lambda image: np.roll(image // 100, shift, axis=1).astype(np.int64)}
    (row,) = evaluate.segmentation_rows("movie", movie, methods)
    assert row["SEG"] == pytest.approx((SIDE - shift) / (SIDE + shift))
    assert (row["DET"], row["TRA"], row["LNK"], row["F1"], row["cells"]) == (1, 1, 1, 1, 36)
    (row,) = evaluate.segmentation_rows("pictures", Movie(squares(), images), methods)
    assert row["SEG"] == pytest.approx((SIDE - shift) / (SIDE + shift))
    assert (row["DET"], "TRA" in row) == (1, False)


@needs_ctcmetrics
def test_a_method_that_finds_nothing_is_worth_nothing():
    methods = {"nothing": lambda: lambda image: np.zeros(image.shape, np.int64)}
    for divisions in (None, []):
        (row,) = evaluate.segmentation_rows("squares", Movie(squares(), squares(), divisions), methods)
        assert {row[name] for name in ("SEG", "DET", "F1", *(["TRA", "LNK"] if divisions == [] else []))} == {0}
        assert "area" not in row


def all_links_but_one(labels, movement, dividing):
    """All links but one: a cell has another number in the last frame."""
    numbers = squares(n_frames=len(labels))
    numbers[-1] = np.where(numbers[-1] == 9, 10, numbers[-1])
    return numbers, [], 0.0


@needs_ctcmetrics
def test_a_broken_link_costs_one_link():
    movie = Movie(squares(), None, [])
    ours, broken = evaluate.tracking_rows("movie", movie, {"iou": trackers.by_overlap, "broken": all_links_but_one})
    assert (ours["DET"], ours["TRA"], ours["LNK"]) == (1, 1, 1)
    assert broken["LNK"] == pytest.approx(26 / 27)  # 9 cells, 3 links each
    assert broken["DET"] == 1


@needs_ctcmetrics
def test_divisions_are_counted():
    cells = squares(n_frames=6)
    cells = cells[:3] + [np.where(labels == 1, 0, labels) for labels in cells[3:]]
    for labels in cells[3:]:
        labels[10:30, 10:19], labels[10:30, 21:30] = 11, 12
    movie = Movie(cells, None, [Division(1, (11, 12), 3)])
    right = lambda labels, movement, dividing: (cells, movie.divisions, 0.0)  # noqa: E731
    blind = lambda labels, movement, dividing: (cells, [], 0.0)  # noqa: E731
    found, missed = evaluate.tracking_rows("movie", movie, {"right": right, "blind": blind})
    assert (found["division recall"], found["division precision"], found["TRA"]) == (1, 1, 1)
    assert missed["division recall"] == 0
    assert "division precision" not in missed


def test_simulated_sets_hold_their_truth():
    jumping = movies._seen(60, {9: (30, 0)})
    (moved,) = (jumping.movement["y"][9],)
    assert abs(moved - 30) < 2
    inside = [(labels > 0)[:-30] for labels in jumping.cells[8:10]]
    assert (inside[0] & (jumping.cells[9] > 0)[30:]).sum() > 0.8 * inside[0].sum()


def drawn(look, divisions=()):
    """A disk of 20 px radius that moves by (2, 5) px, twelve frames, and its images."""
    y, x = np.mgrid[:120, :180]
    distance = [np.hypot(y - 50 - 2 * frame, x - 50 - 5 * frame) - 20 for frame in range(12)]
    cells = [(beyond < 0).astype(np.uint16) for beyond in distance]
    return distance, phase_contrast.draw(cells, divisions, phase_contrast.Look(**look), 4)


@pytest.mark.parametrize("contrast", [1, 0.3])
def test_phase_contrast_is_drawn_with_halo_texture_and_noise(contrast):
    distance, images = drawn({"contrast": contrast})
    beyond, image = np.stack(distance), np.stack(images).astype(float)
    far = image[beyond > 25]
    assert far.mean() == pytest.approx(CAMERA_OFFSET + PHASE_LEVEL, abs=2)
    assert far.std() == pytest.approx((COUNTS_PER_ELECTRON * PHASE_LEVEL + READ_NOISE**2) ** 0.5, rel=0.03)
    ring = [image[(beyond > at - 0.5) & (beyond < at + 0.5)].mean() - far.mean() for at in (1, 3, 5, 9)]
    np.testing.assert_allclose(ring, contrast * HALO * np.exp(-0.5 * np.array([-2, 0, 2, 6]) ** 2 / 9), atol=25)
    body = image[beyond < -1]
    assert body.mean() - far.mean() == pytest.approx(-contrast * DARKER, abs=contrast * 60)
    assert body.std() == pytest.approx(contrast * GRANULES, rel=0.1)
    first, later = (images[at][50 + 2 * at - 13 :, 50 + 5 * at - 13 :][:27, :27].ravel() for at in (0, 9))
    assert np.corrcoef(first, later)[0, 1] > 0.9  # the texture moves along
    there = np.corrcoef(first, images[9][37:64, 37:64].ravel())[0, 1]
    assert abs(there) < 0.3


def test_cells_are_bright_around_while_they_are_round():
    mother, daughter = TrueDivision(1, (2, 3), 8), TrueDivision(9, (1, 3), 4)
    for division, bright in ((mother, range(5, 12)), (daughter, range(6))):
        distance, images = drawn({"round_halo": 4}, [division])
        rings = [image[np.abs(beyond - 3) < 0.5].mean() for beyond, image in zip(distance, images, strict=True)]
        counts = np.array(rings) - CAMERA_OFFSET - PHASE_LEVEL
        wanted = [HALO * (4 if frame in bright else 1) for frame in range(12)]
        np.testing.assert_allclose(counts, wanted, rtol=0.06)


@needs_ctcmetrics
def test_dividing_cells_are_drawn_and_evaluated(monkeypatch):
    tiny = Settings(n_cells=3, n_frames=10, size=200, radius=22, dividing=1)
    monkeypatch.setattr(movies, "TO_SEGMENT_SMALL", {"tiny": tiny})
    movie = movies.to_segment()["divisions: tiny"]()
    assert (len(movie.images), len(movie.divisions) > 0) == (10, True)
    true = iter(movie.cells)
    methods = {"ours": evaluate.segmenters()["logstd, cell"], "true": lambda: lambda image: next(true).astype(np.int64)}
    ours, perfect = evaluate.segmentation_rows("movie", movie, methods)
    assert 0.6 < ours["SEG"] < perfect["SEG"] == 1
    assert (perfect["DET"], perfect["TRA"]) == (1, 1)
    assert {"DET", "TRA", "LNK", "division recall"} <= ours.keys()


@needs_ctcmetrics
def test_phase_objects_are_drawn_and_evaluated(monkeypatch):
    tiny = phase_objects.Settings(n_cells=5, n_frames=16, shape=(180, 200), dividing=0.8)
    monkeypatch.setattr(movies.phase_objects, "PICTURES", {"still": replace(tiny, n_frames=1)})
    monkeypatch.setattr(movies.phase_objects, "MOVIES", {"dividing": tiny})
    monkeypatch.setattr(movies.phase_objects, "EVALUATED", ("dividing",))
    pictures, movie = (movies.by_optics()[f"phase objects: {name}"]() for name in ("still", "dividing"))
    assert (len(pictures.images), pictures.divisions) == (2, None)
    assert not np.array_equal(*pictures.images)
    assert (len(movie.images), len(movie.divisions) > 1) == (16, True)
    for of in (pictures, movie):
        true = iter(of.cells)
        methods = {
            "ours": evaluate.segmenters()["logstd, cell"],
            "true": lambda true=true: lambda image: next(true).astype(np.int64),
        }
        ours, perfect = evaluate.segmentation_rows("of", of, methods)
        assert 0.6 < ours["SEG"] < perfect["SEG"] == 1
        assert (perfect["DET"], perfect["F1"], perfect["area"]) == (1, 1, 1)
        assert (perfect["intensity_mean"], perfect["intensity_total"]) == pytest.approx((1, 1), abs=0.01)
    assert {"TRA", "LNK", "division recall"} <= ours.keys()


def test_real_outlines_keep_their_shape_and_divide(tmp_path):
    labels = np.zeros((150, 150), np.uint8)
    labels[60:80, 40:100] = 1  # 3 times as long as wide
    labels[100:, :] = 2  # the edge cuts it
    tifffile.imwrite(tmp_path / "01_phase.tif", labels * 20)
    with pytest.raises(UserError, match="of whole cells"):
        real_outlines.real_outlines(tmp_path / "none")
    cv2.imwrite(str(tmp_path / "01_cells.png"), labels)
    (outline,) = real_outlines.real_outlines(tmp_path)
    assert np.pi * np.mean(outline**2) == pytest.approx(1)
    assert 2 < outline.max() / outline.min() < 3.3
    settings = real_outlines.Settings(n_cells=6, n_frames=16, size=250, dividing=1, rough=1, missed=0.1)
    movie = real_outlines.simulate(settings, outline[None], 1)
    assert len(movie.divisions) > 2
    for mother, daughters, frame in movie.divisions:
        before, after = movie.cells[frame - 1] == mother, np.isin(movie.cells[frame], daughters)
        assert not (movie.cells[frame:] == mother).any()
        assert not np.isin(movie.cells[:frame], daughters).any()
        assert 0.7 < after.sum() / before.sum() < 1.3
        assert (before & after).sum() > 0.3 * before.sum()
    found, cells = movie.labels > 0, movie.cells > 0
    assert 0.03 < 1 - found[cells].mean() < 0.25
    assert not found[~cells].any()


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
    ((name, movie),) = movies.of_challenge(challenge).items()
    assert (name, len(movie.images), sorted(movie.outlines)) == ("set/01", 4, [1, 3])
    assert {image.dtype for image in movie.images} == {np.dtype(np.uint16)}
    np.testing.assert_array_equal(movie.cells[2], squares()[0])


@needs_ctcmetrics
def test_a_folder_of_the_challenge_is_evaluated(challenge, capsys):
    (movie,) = movies.of_challenge(challenge).values()
    methods = {"as it is": lambda: lambda image: np.roll(image // 20, 5, axis=1).astype(np.int64)}
    rows = [
        *evaluate.segmentation_rows("set/01", movie, methods),
        *evaluate.tracking_rows("set/01", movie, {"iou": trackers.by_overlap}),
    ]
    assert rows[0]["SEG"] == pytest.approx((SIDE - 5) / (SIDE + 5))
    assert [row["LNK"] for row in rows] == [1, 1]
    evaluate.write(rows, challenge / "out")
    evaluate.write(rows, challenge / "out")  # takes the place of the first
    page = (challenge / "out/evaluation.md").read_text()
    assert page.count("| set/01 | as it is | 4 | 18 | 0.600 |") == page.count(evaluate.BEGIN) == 1
    assert (challenge / "out/evaluation.png").stat().st_size > 1000


TRACKS = "01_GT/TRA/man_track.txt"
PLANE = np.zeros((150, 150), np.uint16)
BROKEN = {
    "no truth": (lambda path: shutil.rmtree(path / "01_GT"), "no folder NN_GT"),
    "no track file": (lambda path: (path / TRACKS).unlink(), "man_track.txt' is missing"),
    "words": (lambda path: (path / TRACKS).write_text("label first last parent\n"), "four whole numbers"),
    "three numbers": (lambda path: (path / TRACKS).write_text("1 0 3\n"), "four whole numbers"),
    "no cell 9": (lambda path: edit_tracks(path, "9 0 3 0\n", ""), "no line for cell 9"),
    "unknown parent": (lambda path: edit_tracks(path, "9 0 3 0", "9 0 3 77"), "no line for cell 77"),
    "image missing": (lambda path: (path / "01/t003.tif").unlink(), "t003.tif' is missing"),
    "tracks missing": (lambda path: (path / "01_GT/TRA/man_track001.tif").unlink(), "man_track001.tif' is missing"),
    "from 1 on": (lambda path: (path / "01/t000.tif").rename(path / "01/t004.tif"), "numbered from 0"),
    "outlines beyond": (
        lambda path: tifffile.imwrite(path / "01_GT/SEG/man_seg004.tif", PLANE + 1),
        "t004.tif' is mis",
    ),
    "stack": (lambda path: tifffile.imwrite(path / "01/t003.tif", np.zeros((2, 5, 5), np.uint16)), "one plane"),
    "float": (lambda path: tifffile.imwrite(path / "01/t003.tif", PLANE.astype(np.float32)), "one plane"),
    "three dimensions": (
        lambda path: (path / "01_GT/SEG/man_seg001.tif").rename(path / "01_GT/SEG/man_seg_001_000.tif"),
        "named man_seg000.tif",
    ),
    "image's size": (lambda path: tifffile.imwrite(path / "01/t003.tif", PLANE[:90]), "(90, 150), (150, 150) px"),
    "outlines' size": (
        lambda path: tifffile.imwrite(path / "01_GT/SEG/man_seg001.tif", PLANE[:90] + 1),
        "several sizes",
    ),
    "damaged": (lambda path: (path / "01/t003.tif").write_bytes(b"II*\0"), "cannot be read"),
}


def edit_tracks(path, old, new):
    (path / TRACKS).write_text((path / TRACKS).read_text().replace(old, new))


@pytest.mark.parametrize("broken", BROKEN)
def test_a_folder_that_is_not_in_that_layout_is_refused_in_one_line(challenge, broken):
    do, says = BROKEN[broken]
    do(challenge)
    with pytest.raises(UserError) as refused:
        movies.of_challenge(challenge)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_divisions_and_sequences_without_truth_of_the_challenge(challenge, capsys):
    (challenge / "02").mkdir()
    edit_tracks(challenge, "8 0 3 0\n9 0 3 0", "8 2 3 7\n9 3 3 7")
    (movie,) = movies.of_challenge(challenge).values()
    assert movie.divisions == [Division(7, (8, 9), 2)]
    assert capsys.readouterr().out.count("02' is left out") == 1


@needs_ctcmetrics
def test_single_frames_as_a_sequence_have_no_links(challenge):
    lines = []
    for frame, labels in enumerate(squares()):
        numbers = np.where(labels > 0, labels + 9 * frame, 0).astype(np.uint16)
        tifffile.imwrite(challenge / f"01_GT/TRA/man_track{frame:03d}.tif", numbers)
        lines += [f"{cell} {frame} {frame} 0\n" for cell in range(9 * frame + 1, 9 * frame + 10)]
    (challenge / TRACKS).write_text("".join(lines))
    (movie,) = movies.of_challenge(challenge).values()
    (row,) = evaluate.tracking_rows("movie", movie, {"iou": trackers.by_overlap})
    assert ("LNK" in row, row["DET"], row["cells"]) == (False, 1, 36)


@needs_ctcmetrics
def test_a_single_picture_is_evaluated(tmp_path):
    with pytest.raises(UserError, match="no pictures NN_phase.tif"):
        movies.annotated(tmp_path)
    labels = squares()[0].astype(np.uint8)
    tifffile.imwrite(tmp_path / "01_phase.tif", labels * 20)
    with pytest.raises(UserError, match=r"01_cells.png': wanted is a label image"):
        movies.annotated(tmp_path)
    cv2.imwrite(str(tmp_path / "01_cells.png"), labels)
    methods = {"as it is": lambda: lambda image: np.roll(image // 20, 5, axis=1).astype(np.int64)}
    (row,) = evaluate.segmentation_rows("pictures", movies.annotated(tmp_path), methods)
    assert (row["SEG"], row["DET"]) == (pytest.approx((SIDE - 5) / (SIDE + 5)), 1)


def test_rows_measured_anew_take_the_place_of_the_old_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate.chart, "draw", lambda rows, output: None)
    rows = [
        {"what": what, "set": name, "method": method, "frames": 3, "cells": 7, "DET": 0.25, "CPU s/frame": 12.25}
        for what, name, method in [("segmentation", "a", "x"), ("segmentation", "a", "y"), ("tracking", "a", "x")]
    ]
    evaluate.write(rows, tmp_path)
    before = (tmp_path / "evaluation.csv").read_text()
    assert evaluate.renewed([], tmp_path / "evaluation.csv") == [row | {"CPU s/frame": 12.2} for row in rows]
    new = [rows[1] | {"DET": 0.5}, rows[0] | {"method": "z"}]
    evaluate.write(evaluate.renewed(new, tmp_path / "evaluation.csv"), tmp_path)
    lines = before.splitlines()
    anew = [lines[1], lines[2].replace("0.250", "0.500"), lines[1].replace(",x,", ",z,"), lines[3]]
    assert (tmp_path / "evaluation.csv").read_text().splitlines() == [lines[0], *anew]
    with pytest.raises(UserError, match="is not there"):
        evaluate.main([], None, tmp_path / "none", method="deepsea")


def test_a_set_is_drawn_when_it_is_asked_for(monkeypatch):
    """Names of all sets, which the table on the page has, cost nothing; what is not asked for is not drawn."""

    def refuse(*_, **__):
        raise AssertionError("was drawn")

    for name in ("simulate", "draw", "disks"):
        monkeypatch.setattr(movies, name, refuse)
    for module in (movies.label_movies, movies.phase_objects):
        monkeypatch.setattr(module, "simulate", refuse)
    monkeypatch.setattr(movies.flat_cells, "picture", refuse)
    to_segment, to_track = evaluate.sets([Path("t98g_of_nobody")], None)
    with open(evaluate.ROOT / "docs/evaluation.csv", newline="", encoding="utf-8") as file:
        rows = [(row["what"], row["set"]) for row in csv.DictReader(file) if row["set"] != "t98g"]
    named = [*(("segmentation", name) for name in to_segment), *(("tracking", name) for name in to_track)]
    assert list(dict.fromkeys(rows)) == named
    monkeypatch.setattr(movies, "disks", lambda seed, **halo: (seed, halo))
    assert [name for name, _ in evaluate.asked_for(to_segment, "disks, halos in")] == ["disks, halos in noise"]
    assert evaluate.asked_for(to_segment, "disks, halos in")[0][1]().images == [0, 1, 2]
    with pytest.raises(AssertionError, match="was drawn"):
        to_segment["40 cells"]()


def ball(phase_rad, radius_um=3.0):
    """Light through a disk that delays it by so much, on 200 x 200 fine px, and the distance from its middle, um."""
    fine = flat_cells.PIXEL / flat_cells.FINER
    away = np.hypot(*np.mgrid[-100:100, -100:100]) * fine
    return flat_cells._light(np.where(away < radius_um, phase_rad, 0).astype(np.float32), 0.0), away


def test_phase_contrast_shows_what_delays_light_dark_within_a_bright_halo():
    """Zernike: light that went straight on has the amplitude a, and the rest is against its phase. So a weak object is
    darker by 2 phi / a of the background, less what the phase ring takes of the rest; halos make up for it."""
    empty, away = ball(0.0)
    background = flat_cells.SOURCES * flat_cells.DIMMED**2
    np.testing.assert_allclose(empty, background, rtol=1e-4)
    weak, strong = (ball(phase)[0] / background - 1 for phase in (0.02, 0.04))
    inside, halo = away < 2, (away > 4) & (away < 6)
    full = 2 * 0.02 / flat_cells.DIMMED
    assert -full < weak[inside].mean() < -full / 4
    assert weak[halo].mean() > 0.03 * full
    assert abs(weak.mean()) < 0.02 * full
    assert strong[inside].mean() == pytest.approx(2 * weak[inside].mean(), rel=0.1)
    # what is wide and smooth fades (shade-off): its middle is nearer to the background than that of a small disk
    wide = ball(0.02, 15.0)[0] / background - 1
    assert wide[inside].mean() > 0.8 * weak[inside].mean()


def test_flat_cells_hold_their_truth(monkeypatch):
    monkeypatch.setattr(flat_cells, "SHAPE", (150, 180))
    look = flat_cells.Look(width=(20.0, 26.0), cells=8, debris=2)
    image, labels = flat_cells.picture(look, 3)
    again, _ = flat_cells.picture(look, 3)
    np.testing.assert_array_equal(image, again)
    other, _ = flat_cells.picture(look, 4)
    assert (image != other).any()
    assert image.shape == labels.shape == (150, 180)
    assert 0 <= image.min() < image.max() <= 255
    assert set(np.unique(labels)) == set(range(labels.max() + 1)) != {0}
    rough = np.abs(np.diff(image.astype(float), axis=1))
    outside = cv2.dilate((labels > 0).astype(np.uint8), np.ones((31, 31), np.uint8)) == 0
    assert rough[labels[:, 1:] > 0].mean() > 2 * np.median(rough[outside[:, 1:]])
