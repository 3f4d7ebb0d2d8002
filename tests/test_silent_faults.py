"""Faults of a camera, a file or a config that leave plausible numbers are told, and biology like them is not."""

import numpy as np
import pytest
from conftest import real_file
from evaluation import phase_objects
from scipy import ndimage

from celltraces.frames import camera_faults, likeness
from celltraces.frames.statistics import NAMES, frame_statistics
from celltraces.readers.movie_file import open_movie
from celltraces.results import light_checks
from celltraces.results.quality import check_frames, check_light, check_noise, check_phase_contrast
from celltraces.storage.codecs import PIXELS
from celltraces.storage.frames import open_frames, writing

SHAPE = (128, 144)
T = 8
LIMITS = {"qc_saturation": 1e-4, "qc_brightness": 2.0, "qc_odd_part": 0.03, "qc_contrast": None}


def cells(seed=0, n_cells=10, radius=7, brightness=400.0):
    """Light of cells (T, H, W) float that walk by a pixel per frame, with soft edges."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, 1, (n_cells, 2)) * SHAPE + np.cumsum(rng.normal(0, 1, (T, n_cells, 2)), axis=0)
    bright = brightness * rng.lognormal(0, 0.3, n_cells)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    frames = np.zeros((T, *SHAPE))
    for frame in range(T):
        for (at_y, at_x), light in zip(places[frame], bright, strict=True):
            distance = np.hypot(y - at_y, x - at_x)
            frames[frame] = np.maximum(frames[frame], light / (1 + np.exp(distance - radius)))
    return frames


def taken(light, seed=0, background=200.0, offset=100, bits=16):
    """As a camera takes it: (T, H, W) uint16."""
    pixels = np.random.default_rng(seed).poisson(light + background) + offset
    return pixels.clip(0, (1 << bits) - 1).astype(np.uint16)


def phase_contrast(seed=0):
    """Dark cells with bright rims on a bright background, as a camera takes them."""
    shapes = cells(seed, brightness=1.0)
    halos = ndimage.gaussian_filter(shapes, (0, 4, 4)) - shapes
    return taken(2000 * halos.clip(-0.5, 0.5), seed, background=6000.0)


def written(path, frames, missing=()):
    """The array of a channel, with the attributes that copying gives it. missing: frames that the file did not hold."""
    statistics = {name: [] for name in NAMES}
    like, dead = likeness.likeness_follower(), None
    attributes = {"frame_statistics": statistics, likeness.ATTRIBUTE: []}
    with writing(path, frames.shape, np.uint16, PIXELS, attributes=attributes) as append:
        for frame, image in enumerate(frames):
            for name, value in frame_statistics(image, np.bincount(image.ravel())).items():
                statistics[name].append(None if frame in missing else value)
            attributes[likeness.ATTRIBUTE].append(like(likeness.small_picture(image)))
            dead = camera_faults.dead_lines(image, (), dead)
            append(image)
        if any(map(len, dead)):
            attributes[camera_faults.ATTRIBUTE] = {name: at.tolist() for name, at in dead._asdict().items()}
    return open_frames(path)


def of_channel(tmp_path, fovs, phase=(), covered=None):
    """(fov, check) of check_light; fovs, phase: movies of the channel and of phase contrast."""
    channel, pc = (
        {fov: written(tmp_path / f"{fov}/{name}/0", frames) for fov, frames in enumerate(movies)}
        for name, movies in (("fl_ch_1", fovs), ("pc_ch_0", phase))
    )
    return {
        (row.fov, row.check) for row in check_light(channel, pc, covered or {}, qc_exposure=1.25, qc_light_drift=1.3)
    }


# ---------------------------------------------------------------------------------------------------------- dead lines


def dead(frames, uncovered=()):
    known = None
    for image in frames:
        known = camera_faults.dead_lines(image, uncovered, known)
    return tuple(lines.tolist() for lines in known)


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("value", [0, 117, None], ids=["black", "grey", "as its neighbour"])
def test_lines_of_the_camera_without_an_image(bits, value):
    sound = taken(cells(), bits=bits, background=60, offset=20)
    columns, rows = sound.copy(), sound.copy()
    for at in (0, 30, 31) if value is not None else (30, 31):
        columns[:, :, at] = sound[:, :, 29] if value is None else value
        rows[:, at] = sound[:, 29] if value is None else value
    expected = [30, 31] if value is None else [0, 30, 31]
    assert dead(columns) == (expected, [])
    assert dead(rows) == ([], expected)


def test_lines_that_are_no_dead_ones():
    sound = taken(cells())
    once = sound.copy()
    once[0, :, 30] = 7
    assert dead(once) == ([], [])  # in one frame alone
    assert dead(sound) == dead(sound // 8) == ([], [])
    assert dead(np.repeat(sound, 2, axis=2)) == ([], [])  # enlarged
    assert dead(np.rint(cells()).astype(np.uint16)) == ([], [])  # without noise
    assert dead(np.full((2, *SHAPE), 5, np.uint16)) == ([], [])
    bordered = sound.copy()
    bordered[:, :, :20] = 0
    assert dead(bordered[:, :, 14:], [(0, 0, SHAPE[0], 6)]) == ([], [])  # known to hold no data


def test_dead_lines_are_a_row_of_the_fov(tmp_path):
    frames = taken(cells())
    frames[:, :, 40] = 0
    frames[:, 50] = frames[:, 49]
    array = written(tmp_path / "fl_ch_1/0", frames)
    rows = [(row.frame, row.check, row.value) for row in check_frames(0, array, **LIMITS)]
    assert rows == [(None, "dead_lines_fl_ch_1", 2)]
    assert array.attributes[camera_faults.ATTRIBUTE] == {"columns": [40], "rows": [50]}


# -------------------------------------------------------------------------------------- values that begin anew at 0


@pytest.mark.parametrize("bits", [8, 12, 14, 16])
def test_values_beyond_the_highest_that_begin_anew(bits):
    full = 1 << bits
    light = cells(n_cells=12, radius=9, brightness=1.6 * full)
    pixels = np.random.default_rng(0).poisson(light + full / 8) + full // 16
    for frames, wrapped in ((pixels % full, True), (pixels.clip(0, full - 1), False), (pixels // 8, False)):
        counted = [camera_faults.wrapped_edges(*_counted(image)) for image in frames.astype(np.uint16)]
        assert all(counted) if wrapped else not any(counted)


def test_edges_that_are_no_wrapped_values():
    full = 4096
    image = taken(np.zeros(SHAPE), background=30)
    image[20:60, 20:60] = 4000  # as sharp as no optics show it, on a background that is not darker elsewhere
    image[::9, ::11] = full - 1  # hot pixels
    assert camera_faults.wrapped_edges(*_counted(image)) == 0


def _counted(image):
    return image, np.bincount(image.ravel())


# ------------------------------------------------------------------------------------------------ what a channel shows


def test_phase_contrast_that_is_taken_for_fluorescence(tmp_path):
    fluorescence, phase = taken(cells(1)), phase_contrast(1)
    assert of_channel(tmp_path / "a", [fluorescence], [phase]) == set()
    assert of_channel(tmp_path / "b", [phase], [fluorescence]) == {(0, "exchanged_fl_ch_1")}
    assert of_channel(tmp_path / "c", [phase]) == {(0, "not_fluorescence_fl_ch_1")}
    assert of_channel(tmp_path / "d", [phase, fluorescence]) == set()


def test_fluorescence_that_is_taken_for_phase_contrast(tmp_path):
    def told(name, *fovs):
        arrays = {fov: written(tmp_path / f"{name}/{fov}/pc_ch_0/0", frames) for fov, frames in enumerate(fovs)}
        return [(row.fov, row.check) for row in check_phase_contrast(arrays)]

    assert told("light", taken(cells(1)), taken(cells(2))) == [(0, "not_phase_contrast_pc_ch_0")]
    arrays = {
        0: written(tmp_path / "none/0/pc_ch_0/0", taken(cells(1)), range(T)),
        1: open_frames(tmp_path / "light/1/pc_ch_0/0"),
    }
    assert [(row.fov, row.check) for row in check_phase_contrast(arrays)] == [(1, "not_phase_contrast_pc_ch_0")]
    assert told("phase", phase_contrast(1), phase_contrast(2)) == []
    assert told("nothing", taken(np.zeros((T, *SHAPE)))) == []
    for kind in ("sheet", "dense"):  # dark cells that fill the picture, with bright gaps
        sheet = np.stack(phase_objects.simulate(phase_objects.PICTURES[kind], 3).images)
        of_sheet = frame_statistics(sheet[0], np.bincount(sheet[0].ravel()))
        usual = light_checks.not_phase_contrast([{key: np.array([of_sheet[key]]) for key in ("low", "floor", "mean")}])
        assert usual > light_checks.BRIGHT_ON_DARK
        assert told(kind, sheet) == []


@pytest.mark.parametrize(
    ("name", "channel", "is_light"),
    [(f"t98g/{number:02}_phase.tif", 0, False) for number in range(1, 13)]
    + [("nd2/example-cerevisiae.nd2", 0, False), ("nd2/example-cerevisiae.nd2", 1, True)]
    + [("nd2/example-multichannel.nd2", channel, channel > 0) for channel in range(4)]
    + [("czi/s_1_t_1_c_1_z_1.czi", 0, False)],
)
def test_real_frames_are_fluorescence_or_not(name, channel, is_light):
    """T98G also with a vignette of 60 %, a gradient of 50 %, and white disks on a tenth of it."""
    with open_movie(real_file(name)) as read:
        (image,) = read(0, 0, [channel], None)
    y, x = (axis / side for axis, side in zip(np.mgrid[: image.shape[0], : image.shape[1]], image.shape, strict=True))
    white = (np.abs(y * 10 % 1 - 0.5) < 0.16) & (np.abs(x * 10 % 1 - 0.5) < 0.16)
    made = [image, image * (1 - 1.2 * ((y - 0.5) ** 2 + (x - 0.5) ** 2)), image * (1 + 0.5 * x)]
    made.append(np.where(white, 1.9 * np.median(image), image))
    for one in made if name.startswith("t98g") else made[:1]:
        counts = one.clip(0, 65535).astype(np.uint16)
        statistics = frame_statistics(counts, np.bincount(counts.ravel()))
        of_fov = {key: np.array([statistics[key]], float) for key in ("low", "floor", "mean")}
        told = light_checks.not_phase_contrast([of_fov]) is not None and light_checks.has_few_bright(counts)
        assert told == is_light


def test_a_channel_of_noise_alone(tmp_path):
    """In all FOVs and from the beginning to the end; one without cells among others is nothing unusual."""
    nothing = [taken(np.zeros((T, *SHAPE)), seed) for seed in range(2)]
    assert of_channel(tmp_path / "a", nothing) == {(0, "no_light_fl_ch_1")}
    assert of_channel(tmp_path / "b", [nothing[0], taken(cells())]) == set()


@pytest.mark.parametrize("brightness", [60.0, 400.0])  # 4 and 28 standard deviations of the noise
@pytest.mark.parametrize("lit", [slice(3, None), slice(5, None), slice(6, None), slice(0, 2), slice(3, 5)])
def test_cells_that_shine_for_a_part_of_the_movie_are_no_noise(tmp_path, lit, brightness):
    """As where a gene is switched on late: fewer than half of the frames of one FOV among dark ones have light."""
    light = np.zeros((T, *SHAPE))
    light[lit] = cells(brightness=brightness)[lit]
    assert of_channel(tmp_path, [taken(light), taken(np.zeros((T, *SHAPE)), 1)]) == set()


@pytest.mark.parametrize("factor", [0.6, 1.5, 3.0])
def test_a_fov_that_is_exposed_otherwise(tmp_path, factor):
    movies = [taken(cells(seed), seed) for seed in range(6)]
    movies[3] = taken(factor * cells(3), 3, background=factor * 200)
    assert of_channel(tmp_path, movies) == {(3, "exposure_fov_fl_ch_1")}


@pytest.mark.parametrize("per_frame", [0.99, 0.95, 1.02])
def test_a_lamp_that_fades(tmp_path, per_frame):
    """Of all pixels, cells and medium, little by little; cells that bleach or light up alone leave the background."""
    n_frames = 40
    gradual = per_frame ** np.arange(n_frames)[:, None, None]
    light = np.concatenate([cells(seed) for seed in range(5)])
    told = {(0, "light_drift_fl_ch_1")}
    assert of_channel(tmp_path / "a", [taken((light + 200) * gradual, background=0, offset=0)]) == told
    assert of_channel(tmp_path / "b", [taken(light * gradual)]) == set()
    sound = taken(light)
    assert of_channel(tmp_path / "c", [sound, sound[::-1], taken((light + 200) * gradual, background=0)]) == set()
    steps = np.where(np.arange(n_frames)[:, None, None] < 20, 1.0, per_frame**39)
    assert of_channel(tmp_path / "d", [taken((light + 200) * steps, background=0)]) == set()  # exposure_step_*


def test_fovs_that_differ_in_what_they_show(tmp_path):
    """Few cells, many, none, bright, dim; confluent, with and without gaps; bleaching; two media."""
    movies = [taken(cells(seed, n_cells), seed) for seed, n_cells in enumerate((3, 10, 20, 0, 12, 8))]
    bright = taken(cells(7, brightness=4000), 7)
    bleaching = taken(cells(8) * 0.8 ** np.arange(T)[:, None, None], 8)
    dense = cells(9, n_cells=80, radius=12)
    assert of_channel(tmp_path / "a", [*movies, bright, bleaching]) == set()
    assert of_channel(tmp_path / "b", [*movies, taken(dense, 9)], covered={6: 0.9}) == set()
    assert of_channel(tmp_path / "c", [*movies, taken(cells(9, 45, 10), 9)]) == set()
    other_medium = [taken(cells(seed), seed, background=320) for seed in range(4)]
    assert of_channel(tmp_path / "d", [*movies, *other_medium]) == set()
    assert of_channel(tmp_path / "e", [*movies[:3], other_medium[0]]) == set()  # too few FOVs to tell


@pytest.mark.parametrize("n_cells", [20, 60, 120])
def test_a_confluent_layer_is_fluorescence(tmp_path, n_cells):
    assert of_channel(tmp_path, [taken(cells(2, n_cells, radius=14))]) == set()


# --------------------------------------------------------------------------------------------------------------- noise


def noisy_fovs(tmp_path, movies, covered=None):
    arrays = {fov: written(tmp_path / f"{fov}/fl_ch_1/0", frames) for fov, frames in enumerate(movies)}
    return [(row.fov, row.check) for row in check_noise(arrays, covered or {}, qc_noise=1.5)]


@pytest.mark.parametrize("factor", [2.0, 4.0])
def test_a_fov_with_more_noise(tmp_path, factor):
    """Another gain or mode of the camera, with the same light."""
    movies = [taken(cells(seed, n_cells=4 + seed), seed) for seed in range(6)]
    assert noisy_fovs(tmp_path / "a", movies) == []
    more = np.random.default_rng(9).normal(0, 14 * np.sqrt(factor**2 - 1), movies[2].shape)
    movies[2] = np.rint(movies[2] + more).clip(0, 65535).astype(np.uint16)
    assert noisy_fovs(tmp_path / "b", movies) == [(2, "noise_fl_ch_1")]


def test_fovs_with_the_noise_that_their_light_has(tmp_path):
    """Brighter media, many and few cells, none; too few FOVs to tell."""
    movies = [taken(cells(seed, n_cells), seed) for seed, n_cells in enumerate((3, 10, 20, 0, 12, 8))]
    brighter = taken(cells(6), 6, background=500, offset=0)
    assert noisy_fovs(tmp_path / "a", [*movies, brighter]) == []
    loud = np.repeat(taken(cells(8), 8)[:, ::2], 2, axis=1) // 2 * 3
    assert noisy_fovs(tmp_path / "b", [*movies[:3], loud]) == []
