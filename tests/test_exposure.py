"""A changed exposure is found and measured, and is told apart from all else that makes a channel brighter or darker."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import copy_frames
from celltraces.frames import exposure
from celltraces.results.quality import check_exposure
from celltraces.storage.codecs import PIXELS
from celltraces.storage.frames import open_frames, writing

N_FRAMES, OFFSET = 20, 100.0
STEP = 9  # the first frame with another exposure


def background(level: float) -> np.ndarray:
    """(H, W) counts above the camera's offset, brightest in the middle."""
    y, x = np.mgrid[-1:1:128j, -1:1:160j]
    return level * (1 - 0.2 * (x**2 + y**2))


def cells(total: float) -> np.ndarray:
    """(H, W) counts of a dozen cells."""
    y, x = np.mgrid[:128, :160]
    places = np.random.default_rng(4).uniform((10, 10), (118, 150), (12, 2))
    return sum(total * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 50) for cy, cx in places)


def movie(light, factor=lambda frame: 1.0, added=lambda frame: 0.0, background_level=60.0, seed=0):
    """Frames (H, W) uint16: `light(frame)` is the brightness of cells; `factor(frame)` the exposure of all."""
    rng = np.random.default_rng(seed)
    shape, back = cells(1.0), background(background_level)
    for frame in range(N_FRAMES):
        seen = factor(frame) * (back + light(frame) * shape + added(frame))
        yield np.rint(rng.poisson(seen) + rng.normal(OFFSET, 2, seen.shape)).astype(np.uint16)


def found(frames) -> list[tuple[int, float]]:
    of_frames = [copy_frames.frame_statistics(frame, np.bincount(frame.ravel())) for frame in frames]
    return list(exposure.steps(*(np.array([of[key] for of in of_frames]) for key in ("low", "floor", "mean")), 1.25))


def growing(frame):
    return 30.0 * frame


@pytest.mark.parametrize("level", [15.0, 60.0, 2000.0])
@pytest.mark.parametrize("light", [growing, lambda frame: 200.0], ids=["growing", "steady"])
@pytest.mark.parametrize("factor", [0.5, 1.5, 2.0, 4.0])
def test_an_exposure_that_changes_and_stays(level, light, factor):
    ((frame, by),) = found(movie(light, lambda t: factor if t >= STEP else 1.0, background_level=level))
    assert frame == STEP
    assert by == pytest.approx(factor, rel=0.2)


@pytest.mark.parametrize("level", [15.0, 60.0, 2000.0])
@pytest.mark.parametrize("factor", [0.5, 2.0, 4.0])
def test_an_exposure_that_changes_where_there_are_no_cells(level, factor):
    """Noise, all there is above a dim background, grows with the root of the light."""
    ((frame, by),) = found(movie(lambda t: 0.0, lambda t: factor if t >= STEP else 1.0, background_level=level))
    assert frame == STEP
    low, high = sorted((factor**0.4, factor**1.1))
    assert low < by < high


@pytest.mark.parametrize("level", [60.0, 2000.0])
@pytest.mark.parametrize("factor", [0.5, 1.5, 2.0])
def test_an_exposure_that_differs_in_the_first_or_the_last_frame(level, factor):
    for changed, at, expected in ((0, 1, 1 / factor), (N_FRAMES - 1, N_FRAMES - 1, factor)):
        factors = [factor if t == changed else 1.0 for t in range(N_FRAMES)]
        ((frame, by),) = found(movie(lambda t: 200.0, factors.__getitem__, background_level=level))
        assert frame == at
        assert by == pytest.approx(expected, rel=0.2)


def test_an_exposure_that_returns():
    frames = movie(growing, lambda t: 2.0 if 6 <= t < 12 else 1.0)
    assert [frame for frame, _ in found(frames)] == [6, 12]


def test_a_camera_without_offset():
    frames = [frame - np.minimum(frame, int(OFFSET)) for frame in movie(growing, background_level=400)]
    frames[STEP:] = [2 * frame for frame in frames[STEP:]]
    ((frame, by),) = found(frames)
    assert frame == STEP
    assert by == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("level", [15.0, 60.0, 2000.0])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "change",
    [
        {"light": growing},
        {"light": lambda t: 200.0},
        {"light": lambda t: 0.0},
        # bleaching, slow and fast
        {"light": lambda t: 400.0, "factor": lambda t: 0.97**t},
        {"light": lambda t: 400.0, "factor": lambda t: 0.75**t},
        {"light": lambda t: 400.0, "factor": lambda t: 0.2 + 0.8 * np.exp(-t / 2)},
        # cells that light up or go out at once
        {"light": lambda t: 400.0 if t >= STEP else 20.0},
        {"light": lambda t: 400.0 if t >= STEP else 0.0},
        {"light": lambda t: 20.0 if t >= STEP else 400.0},
        # a lamp that flickers in single frames, or always
        {"light": growing, "factor": lambda t: 2.0 if t in (5, STEP) else 1.0},
        {"light": growing, "factor": lambda t: 0.4 if t in (1, 5, STEP, N_FRAMES - 2) else 1.0},
        {"light": lambda t: 400.0, "factor": lambda t: np.random.default_rng(t).uniform(0.9, 1.1)},
        # cells that all light up at once, in the first or the last frame; bleaching that is fastest at first
        {"light": lambda t: 400.0 if t >= 1 else 40.0},
        {"light": lambda t: 400.0 if t == N_FRAMES - 1 else 40.0},
        {"light": lambda t: 400.0, "factor": lambda t: 0.5 + 0.5 * 0.55**t},
        {"light": lambda t: 400.0, "added": lambda t: 80.0 if t >= 1 else 0.0},
        {"light": lambda t: 400.0, "added": lambda t: 80.0 if t == N_FRAMES - 1 else 0.0},
        # a medium that shines
        {"light": lambda t: 400.0, "added": lambda t: 80.0 if t >= STEP else 0.0},
    ],
)  # fmt: skip
def test_what_is_no_changed_exposure(change, seed, level):
    assert found(movie(**change, background_level=level, seed=seed)) == []


def test_frames_that_are_missing_or_blank_are_passed_over(tmp_path):
    """Fluorescence in every second frame, one of them blank."""
    frames = list(movie(growing, lambda t: 2.0 if t >= STEP else 1.0))
    gone = set(range(1, N_FRAMES, 2)) - {N_FRAMES - 1}
    statistics = {key: [] for key in copy_frames.NO_STATISTICS}
    attributes = {"missing_frames": sorted(gone), "frame_statistics": statistics}
    path = tmp_path / "fl_ch_1/0"
    with writing(path, (N_FRAMES, 128, 160), np.uint16, PIXELS, attributes=attributes) as append:
        for at, frame in enumerate(frames):
            frame = np.zeros_like(frame) if at in gone else np.full_like(frame, 7) if at == 14 else frame
            append(frame)
            of_frame = copy_frames.frame_statistics(frame, np.bincount(frame.ravel()))
            for key, value in (copy_frames.NO_STATISTICS if at in gone else of_frame).items():
                statistics[key].append(value)
    rows = list(check_exposure(3, open_frames(path), 1.25))
    assert [(row.fov, row.frame, row.check, row.limit) for row in rows] == [(3, 10, "exposure_step_fl_ch_1", 1.25)]
    assert rows[0].value == pytest.approx(2, rel=0.2)


@given(st.lists(st.integers(0, 900), min_size=1, max_size=400))
def test_levels_are_quantiles(values):
    """A tenth and a thousandth of the pixels lie below, if those of one value are spread evenly around it."""
    counts = np.bincount(values)
    spread = np.sort(np.concatenate([value + (np.arange(n) + 0.5) / n - 0.5 for value, n in enumerate(counts) if n]))
    for level, share in zip(exposure.levels(counts), (0.1, 0.001), strict=True):
        assert abs(int(np.searchsorted(spread, level)) - share * len(values)) <= 1


@pytest.mark.parametrize("n_frames", [1, 2, 3])
def test_movies_that_are_too_short_to_tell(n_frames):
    assert found(list(movie(growing, lambda t: 2.0 if t else 1.0))[:n_frames]) == []
