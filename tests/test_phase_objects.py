"""The simulator of cells that delay light (benchmarks/evaluation/phase_objects.py): its optics against formulas, and
whether its truth is true."""

from dataclasses import replace

import divisions
import numpy as np
import pytest
from evaluation import phase_objects
from evaluation.phase_cells import PARTING, Course, Settings, first_cells, form
from evaluation.phase_drawing import THICKER, Piece, draw
from evaluation.phase_optics import DARKER, FINEST, LEVEL, Optics, brightness, photographed
from scipy.special import jv

WAYS = ("ring", "sharp ring", "thick is dark")
RINGS = WAYS[:2]
PERIOD = 24  # px, of gratings; the pictures' mirrored margins hold whole periods of them


def grating(strength):
    """Phase of (96, 240) px that goes up and down by `strength` rad from left to right, and where in the period."""
    angle = 2 * np.pi * (np.arange(240) + 0.5) / PERIOD
    return np.tile(strength * np.cos(angle), (96, 1)), angle


def passed(optics, order):
    """Share of light turned aside by so many orders of the grating that goes through the phase ring."""
    frequency = np.asarray(order) / PERIOD
    if optics.way == "sharp ring":
        return np.exp(-((4.5 * optics.halo * frequency) ** 4))
    return np.exp(-2 * (np.pi * optics.halo * frequency) ** 2)


@pytest.mark.parametrize("way", RINGS)
@pytest.mark.parametrize("strength", [0.02, 0.5, 2.0])
def test_a_grating_looks_as_the_orders_of_its_light_add_up_to(way, strength):
    """exp(i s cos a) is the sum of i^n J_n(s) exp(i n a) (Jacobi, Anger); the ring changes each order by itself."""
    optics = Optics(way, halo=4.0, dimmed=0.5)
    phase, angle = grating(strength)
    order = np.arange(-PERIOD // 2 + 1, PERIOD // 2)
    through = passed(optics, order)
    amplitude = 1j**order * jv(order, strength) * (1 - through - 1j * optics.dimmed * through) / optics.dimmed
    wanted = np.abs((amplitude[:, None] * np.exp(1j * order[:, None] * angle)).sum(axis=0)) ** 2
    seen = brightness(phase, optics)
    np.testing.assert_allclose(seen, np.tile(wanted, (96, 1)), atol=2e-4)
    assert seen.mean() == pytest.approx((np.abs(amplitude) ** 2).sum(), rel=1e-4)  # no light is made or lost
    assert 1 / (1 + optics.dimmed**2) < seen.mean() < 1 / optics.dimmed**2


@pytest.mark.parametrize("way", WAYS)
def test_weak_phases_are_dark_and_even_ones_invisible(way):
    optics = Optics(way, halo=4.0, dimmed=0.5)
    for even in (0.0, 1.0):
        np.testing.assert_allclose(brightness(np.full((50, 60), even), optics), 1, atol=1e-5)
    phase, _ = grating(0.01)
    contrast = -2 * (1 - passed(optics, 1)) / optics.dimmed
    if way == "thick is dark":
        contrast = -DARKER * (np.exp(-2 * (np.pi * FINEST / PERIOD) ** 2) - passed(optics, 1))
    np.testing.assert_allclose(brightness(phase, optics)[:, 60:-60], 1 + contrast * phase[:, 60:-60], atol=4e-4)
    assert contrast < 0


def test_what_only_delays_light_is_invisible_without_a_phase_ring():
    phase = np.random.default_rng(1).uniform(0, 3, (40, 50))
    all_through = Optics(halo=1e-3)  # the ring takes all light, whether turned aside or not
    np.testing.assert_allclose(brightness(phase, all_through), 1, atol=1e-4)


def test_the_camera_adds_noise_and_uneven_light():
    rng = np.random.default_rng(2)
    empty = np.zeros((300, 400))
    even = photographed(empty, Optics(noise=0.03), rng).astype(float)
    assert even.mean() == pytest.approx(LEVEL, rel=1e-3)
    assert even.std() == pytest.approx(0.03 * LEVEL, rel=0.02)
    slope, vignette = (photographed(empty, Optics(**of), rng) / LEVEL for of in ({"slope": 0.4}, {"vignette": 0.3}))
    sides = [
        part.mean() for part in (slope[140:160, :10], slope[140:160, -10:], slope[:10, 190:210], slope[-10:, 190:210])
    ]
    np.testing.assert_allclose(sides, [0.8, 1.2, 0.9, 1.1], atol=0.02)
    corners = [vignette[y, x].mean() for y in (np.s_[:5], np.s_[-5:]) for x in (np.s_[:5], np.s_[-5:])]
    np.testing.assert_allclose([*corners, vignette[140:160, 190:210].mean()], [0.7] * 4 + [1], atol=0.02)


PLAIN = Settings(shape=(300, 340), n_cells=9, n_frames=20, radius_spread=0, nucleus=0, granules=0)


def whole(labels, margin=1):
    """Numbers of the cells that do not come near the edge of the picture."""
    inner = labels[margin:-margin, margin:-margin]
    edge = np.setdiff1d(np.unique(labels), [0])
    cut = np.unique(
        np.concatenate(
            [labels[:margin].ravel(), labels[-margin:].ravel(), labels[:, :margin].ravel(), labels[:, -margin:].ravel()]
        )
    )
    assert inner.size
    return np.setdiff1d(edge, cut)


def test_areas_and_phases_are_those_of_disks_and_balls():
    """A round cell is half a ball, up to the pixels outside of it, half a px beyond its edge."""
    settings = replace(PLAIN, dying=1.0, length=1.0, waviness=0)
    cells = first_cells(settings, np.random.default_rng(3))
    drawn = draw(cells, [], 19, settings)
    n_dead = 0
    for number in whole(drawn.labels):
        cell = cells[number - 1]
        inside, now = drawn.labels == number, form(cell, 19, settings.course)
        dead = now.roundness == 1
        n_dead += dead
        area = np.pi * settings.radius**2 * (0.35 if dead else 1)
        assert inside.sum() == pytest.approx(area, rel=0.03 if dead else 0.08)  # the living ones breathe
        if not dead:
            continue
        middle = settings.phase * cell.thickness * (1 + THICKER)
        y, x = (axis - at for axis, at in zip(np.nonzero(inside), cell.place, strict=True))
        away = np.maximum(np.hypot(y, x) - 0.5, 0) / now.radius
        ball = middle * np.sqrt(np.maximum(1 - away**2, 0))
        assert drawn.phase[inside].sum() == pytest.approx(ball.sum(), rel=0.03)
        np.testing.assert_allclose(drawn.phase[inside][away < 0.85], ball[away < 0.85], atol=0.12 * middle)
    assert n_dead > 3
    flat = np.isin(drawn.labels, [cell.number for cell in cells if cell.dies > 19])
    assert drawn.phase[flat].max() <= settings.phase * 1.15
    assert not drawn.phase[drawn.labels == 0].any()


def test_debris_is_balls():
    pieces = [
        Piece(np.array([40.3, 50.7]), np.array([0.0, 2.0]), 3.7, 1.5),
        Piece(np.array([-50.0, 9]), np.zeros(2), 4, 2),
    ]
    for frame in (0, 10):
        phase = draw([], pieces, frame, PLAIN).phase
        assert phase.sum() == pytest.approx(2 / 3 * np.pi * 3.7**2 * 1.5, rel=0.05)
        middle = [(of * phase).sum() / phase.sum() for of in np.mgrid[: PLAIN.shape[0], : PLAIN.shape[1]]]
        np.testing.assert_allclose(middle, [40.3, 50.7 + 2 * frame], atol=0.1)


@pytest.mark.parametrize("rounds_up", [True, False])
def test_daughters_share_what_their_mother_had(rounds_up):
    settings = replace(PLAIN, dividing=0.8, course=Course(rounds_up=rounds_up, share=(0.35, 0.5)))
    movie = phase_objects.simulate(settings, 4)
    assert len(movie.divisions) > 3
    n_whole = 0
    for mother, daughters, frame in movie.divisions:
        there = [np.isin(movie.cells[at], mother).any() for at in range(settings.n_frames)]
        assert there[frame - 1]
        assert not any(there[frame:])
        assert not any(np.isin(daughters, labels).any() for labels in movie.cells[:frame])
        before, after = movie.cells[frame - 1], movie.cells[frame]
        if mother not in whole(before) or not set(daughters) <= set(whole(after)):
            continue
        n_whole += 1
        light = movie.light[frame - 1][before == mother].sum()
        parts = [movie.light[frame][after == daughter].sum() for daughter in daughters]
        assert sum(parts) == pytest.approx(light)
        areas = [(after == daughter).sum() for daughter in daughters]
        assert sum(areas) == pytest.approx((before == mother).sum(), rel=0.12)
        assert areas[0] / sum(areas) == pytest.approx(parts[0] / sum(parts), abs=0.06)
        if rounds_up:
            earlier = (movie.cells[frame - 15 if frame >= 15 else 0] == mother).sum()
            assert (before == mother).sum() == pytest.approx(settings.course.rounded * earlier, rel=0.2)
        places = [np.mean(np.nonzero(after == daughter), axis=1) for daughter in daughters]
        np.testing.assert_allclose(
            np.average(places, axis=0, weights=areas), np.mean(np.nonzero(before == mother), axis=1), atol=6
        )
    assert n_whole > 2


def test_light_is_that_of_the_cells_and_lasts():
    movie = phase_objects.simulate(replace(PLAIN, n_frames=8), 5)
    for cell in np.unique(movie.cells):
        totals = [
            light[labels == cell].sum()
            for labels, light in zip(movie.cells, movie.light, strict=True)
            if cell in whole(labels)
        ]
        np.testing.assert_allclose(totals, totals[:1] * len(totals), rtol=1e-5)
    assert not any(light[labels == 0].any() for labels, light in zip(movie.cells, movie.light, strict=True))


def test_the_stage_moves_what_is_seen():
    settings = replace(PLAIN, n_frames=6, step=0.2, stage=((3, 0.25, -0.5), (5, 0, 0)))
    movie = phase_objects.simulate(settings, 6)
    places = [{cell: np.mean(np.nonzero(labels == cell), axis=1) for cell in whole(labels)} for labels in movie.cells]
    for frame, wanted in ((2, (0, 0)), (3, (-75, 170)), (5, (0, 0))):
        both = places[0].keys() & places[frame].keys()
        assert len(both) > 1
        moved = [places[frame][cell] - places[0][cell] for cell in both]
        np.testing.assert_allclose(moved, np.tile(wanted, (len(both), 1)), atol=5)


def test_cells_meet_and_part():
    settings = replace(PLAIN, n_cells=14, n_frames=24, meeting=2, length=1.0, waviness=0, step=0.5)
    rng = np.random.default_rng(7)
    cells = first_cells(settings, rng)
    pairs = [(cell, cell.meets) for cell in cells if cell.meets is not None and cell.number < cell.meets.number]
    assert len(pairs) == 2
    distances = {pair: [] for pair in range(2)}
    for frame in range(settings.n_frames):
        if frame:
            phase_objects.move(cells, frame, settings, rng)
        for pair, (one, other) in enumerate(pairs):
            distances[pair].append(np.hypot(*(one.place - other.place)) / (2 * settings.radius))
    for pair, (one, _) in enumerate(pairs):
        begin, end = one.together
        assert min(distances[pair][begin:end]) < 1.1
        assert distances[pair][end + PARTING - 1] > 1.3


def test_the_same_seed_is_the_same_movie():
    tiny = replace(PLAIN, shape=(120, 130), n_frames=2, debris=3)
    one, again, other = (phase_objects.simulate(tiny, seed) for seed in (8, 8, 9))
    np.testing.assert_array_equal(one.images, again.images)
    assert not np.array_equal(one.images, other.images)
    assert {image.dtype for image in (*one.images, *one.cells)} == {np.dtype(np.uint16)}


def test_divisions_are_looked_for_in_what_a_method_finds():
    settings = replace(PLAIN, shape=(200, 220), n_cells=6, dividing=0.8, n_frames=24)
    true = phase_objects.simulate(settings, 10)
    shown = iter(true.cells)
    score = divisions.of_phase_objects(settings, lambda: lambda image: next(shown).astype(np.int64), 10)
    assert score.true == len(true.divisions) > 2
    assert (score.found, score.wrong) == (score.true, 0)
    nothing = divisions.of_phase_objects(settings, lambda: lambda image: np.zeros(image.shape, np.int64), 10)
    assert nothing == (score.true, 0, 0, score.late)


def test_each_kind_has_a_name_of_its_own():
    kinds = {**phase_objects.PICTURES, **phase_objects.MOVIES}
    assert len(kinds) == len(phase_objects.PICTURES) + len(phase_objects.MOVIES)
    assert {kind.n_frames for kind in phase_objects.PICTURES.values()} == {1}
    assert set(phase_objects.EVALUATED) <= phase_objects.MOVIES.keys()
